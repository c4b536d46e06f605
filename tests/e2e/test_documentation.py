"""What README and documentation show runs as it stands there, block by block.

Which pages and blocks, and who runs the others: tests/support/documentation/registry.py.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.documentation.blocks import ROOT, Block, blocks_of, shell_of
from tests.support.documentation.registry import ELSEWHERE, NOT_RUN, PAGES
from tests.support.e2e.suite import INSTANT, Suite, wait_for
from tests.support.forked.python import python

pytestmark = pytest.mark.skipif(
    "POLYBATCH_TEST_FLEET" in os.environ, reason="the pages are about one machine"
)

# What a block needs that its page has said, and no block before it.
PRELUDES = {
    "clients/python/README.md: requests = (": (
        "from polybatch import Client\nclient, texts = Client(), ['one', 'two']\n"
    ),
    "docs/steering.md: for line in client.results(batch.id, fol": (
        "from polybatch import Client\nclient = Client()\nbatch = client.get_batch('ID')\n"
    ),
}
RUN = """
import ast, asyncio, inspect, sys
code = compile(sys.stdin.read(), "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
made = eval(code, {"__name__": "__main__"})
if inspect.iscoroutine(made):
    asyncio.run(made)
"""
# A watched batch that has failed lines ends with 3, which is no failure of the command.
COMMAND = """#!/bin/sh
{python} "$@"
code=$?
[ $code = 3 ] && exit 0
exit $code
"""


class Reader:
    """Somebody who does what a page says, in a folder and an account of their own."""

    def __init__(self, suite: Suite, page: str, folder: Path) -> None:
        self.suite = suite
        self.folder = folder
        # Pauses of a provider are the operator's.
        scope = "operator" if page == "docs/steering.md" else "account"
        self.key = suite.new_key(re.sub(r"\W", "-", page), scope)
        self.client = suite.client(self.key)
        ready = suite.ready
        self.environment = suite.environment | {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "POLYBATCH_GATEWAY": ready["gateway"],
            "POLYBATCH_COLLECTOR": ready["collector"],
            "POLYBATCH_API_KEY": self.key,
        }
        self.placeholders: dict[str, Callable[[], str]] = {
            r"\b(BATCH_)?ID\b": self._endpoint if page == "docs/webhooks.md" else self._ended,
            r"\bbatch_4k2j9x\b": self._running,
            r"\bdelivery_4k2j9x\b": self._delivery,
            r"http://127\.0\.0\.1:8080": lambda: ready["web"],
            r"http://127\.0\.0\.1:8400": lambda: ready["sandbox"],
            r"http://127\.0\.0\.1:9551/metrics": lambda: ready["metrics"]["gateway"],
            r"/backup\b": lambda: str(folder / "backup"),
        }
        self._held = ""
        for path in ("bin/polybatch", ".venv/bin/polybatch"):
            self._program(path, "-m", "polybatch")
        (folder / "examples").symlink_to(ROOT / "examples")
        (folder / "backup").mkdir()
        (folder / ".polybatch").symlink_to(suite.data_dir)
        for name in ("requests.jsonl", "urgent.jsonl"):
            shutil.copyfile(ROOT / "examples/chat-mixed.jsonl", folder / name)
        (folder / "table.csv").write_text("id,text\n1,One.\n2,Two.\n")

    def do(self, block: Block) -> None:
        """Run one block."""
        text = PRELUDES.get(block.name, "") + shell_of(block)
        for pattern, value in self.placeholders.items():
            if re.search(pattern, text):
                text = re.sub(pattern, value(), text)
        if "mkdir .polybatch" in text:
            # After the loss of everything.
            (self.folder / ".polybatch").unlink()
        if block.language == "python":
            command, given = python("-c", RUN), text
        else:
            command, given = ["bash", "-c", f"set -euo pipefail\n{text}"], ""
        done = subprocess.run(
            command,
            input=given,
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, f"{block.page}:{block.line}\n{done.stdout}\n{done.stderr}"
        self._let_go()

    def close(self) -> None:
        """Leave nothing that other tests would meet."""
        self._let_go()
        self.client.close()

    def _program(self, name: str, *words: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(COMMAND.format(python=shlex.join(python(*words))))
        path.chmod(0o755)

    def _submit(self, *questions: str) -> str:
        lines = [
            {
                "custom_id": str(number),
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "gpt-4.1", "messages": [{"role": "user", "content": text}]},
            }
            for number, text in enumerate(questions)
        ]
        return self.client.submit(lines).id

    def _ended(self) -> str:
        """A batch with a line that failed."""
        batch = self._submit("Hi", "[[sandbox:error=invalid]]")
        self.client.wait(batch, timeout=60)
        return batch

    def _running(self) -> str:
        """A batch that its provider does not end until the block is done."""
        if not self._held:
            self.suite.sandbox("/sandbox/config", {"batch_seconds": 600})
            self._held = self._submit("Hi")
        return self._held

    def _let_go(self) -> None:
        if self._held:
            self.suite.sandbox("/sandbox/config", INSTANT)
            self.client.cancel_batch(self._held)
            self._held = ""

    def _endpoint(self) -> str:
        return next(iter(self.client.webhooks.list())).id

    def _delivery(self) -> str:
        found: list[Any] = []
        wait_for(lambda: bool(found or found.extend(self.client.webhooks.deliveries())), "one")
        return str(found[0].id)


@pytest.fixture
def read(suite: Suite, tmp_path: Path) -> Iterator[Callable[[str], Reader]]:
    readers: list[Reader] = []

    def start(page: str) -> Reader:
        readers.append(Reader(suite, page, tmp_path))
        return readers[-1]

    yield start
    for reader in readers:
        reader.close()


# The others take a minute together, beside what all else takes.
@pytest.mark.parametrize(
    "page",
    [page if page == "README.md" else pytest.param(page, marks=pytest.mark.long) for page in PAGES],
)
def test_what_it_shows_runs(read: Callable[[str], Reader], page: str) -> None:
    reader = read(page)
    run = 0
    for block in blocks_of(ROOT / page):
        if block.saved_as:
            (reader.folder / block.saved_as).write_text(block.text)
        if block.runs and block.name not in {*ELSEWHERE, *NOT_RUN}:
            reader.do(block)
            run += 1
    assert run, "a page of which nothing is run here belongs in none of PAGES"


def test_the_first_batch_has_the_results_that_its_page_tells_of(
    read: Callable[[str], Reader],
) -> None:
    reader = read("docs/first-batch.md")
    for block in blocks_of(ROOT / "docs/first-batch.md"):
        if block.saved_as:
            (reader.folder / block.saved_as).write_text(block.text)
        if block.text.startswith("polybatch submit"):
            reader.do(block)
    shown = [
        json.loads(line) for line in (reader.folder / "results.jsonl").read_text().splitlines()
    ]
    assert [each["custom_id"] for each in shown] == ["request-1", "request-2"]
    assert all(each["response"]["status_code"] == 200 for each in shown)
