"""Every example of the command's help, which docs/reference/cli.md shows too, run as it stands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import click
import pytest
from polybatch import Client, Funding
from polybatch.cli import grammar
from polybatch.cli.program import cli
from polybatch.errors import Conflict, NotFound

from docsite.command_page import walk
from tests.support.e2e.inputs import chat, write
from tests.support.e2e.suite import INSTANT, Suite, wait_for
from tests.support.forked.python import python

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif("POLYBATCH_TEST_FLEET" in os.environ, reason="the examples are the same"),
]

LINES = [chat(1), chat(2, "[[sandbox:error=invalid]]")]
LINES_FAILED = 3
# What a batch must be for them; all else is about one that has ended.
OF_RUNNING = re.compile(r"polybatch (cancel|pause|resume) ")


def examples() -> Iterator[str]:
    """Each once, without what is said of it, two spaces or more behind it."""
    seen = set()
    context = click.Context(cli, info_name="polybatch")
    for command, below in [(cli, context), *walk(cli, context)]:
        assert isinstance(command, grammar.Command)
        for line in command.example_in(below).splitlines():
            example = re.split(r"\s{2,}", line.strip())[0]
            if re.match(r"(?:[\w-]+ \| )?polybatch ", example) and example not in seen:
                seen.add(example)
                yield example


EXAMPLES = list(examples())


class Workplace:
    """A folder with what the examples name, and an account that has what they ask for."""

    def __init__(self, suite: Suite, folder: Path) -> None:
        self.suite = suite
        self.folder = folder
        self.key = suite.new_key(folder.name.strip("_0"), "operator")
        self.client: Client = suite.client(self.key)
        self._names = 0
        self._batch = ""
        for name in ("requests.jsonl", "batch.jsonl"):
            write(folder / name, LINES)
        subprocess.run(["zstd", "-q", "requests.jsonl"], cwd=folder, check=True)
        (folder / "table.csv").write_text("id,text\n1,One.\n2,Two.\n")
        self._program("polybatch", f'exec {shlex.join(python("-m", "polybatch"))} "$@"')
        self._program("generate-requests", "cat requests.jsonl")

    def run(self, example: str) -> None:
        """Run one; each batch, file, key and account that it names is made for it."""
        text = example
        for pattern, value in self._placeholders(example).items():
            if re.search(pattern, text):
                text = re.sub(pattern, value(), text)
        done = subprocess.run(
            ["bash", "-c", f"set -uo pipefail\n{text}"],
            env=self.suite.environment
            | {
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "POLYBATCH_GATEWAY": self.suite.ready["gateway"],
                "POLYBATCH_COLLECTOR": self.suite.ready["collector"],
                "POLYBATCH_API_KEY": self.key,
            },
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=100,
        )
        self._let_go()
        assert done.returncode in (0, LINES_FAILED), f"{text}\n{done.stdout}\n{done.stderr}"

    def close(self) -> None:
        """Leave nothing that other tests would meet."""
        self._let_go()
        self.client.close()

    def _placeholders(self, example: str) -> dict[str, Callable[[], str]]:
        made = "accounts create" in example
        batch = self._running if OF_RUNNING.match(example) else self._ended
        if "batch_expired" in example:
            batch = self._expired
        return {
            r"(?<=--cause )1f0c9a77e2d4": self._cause,
            r"\bbatch_4k2j9x\b": batch,
            r"(?<=(?:watch|batch) )last\b": self._ended,
            r"\bfile_7h3m2p\b": self._file,
            r"\bkey_0m2x(\.{3}|\w+)": self._key,
            r"\bwebhook_7h3m2p\b": self._webhook,
            r"(?<=webhooks (?:update|rotate) )last|(?<=webhooks test )last": self._webhook,
            r"\bdelivery_7h3m2p\b": self._delivery,
            r"(?<!=)\bteam\b": self._name if made else self._account,
            # Only fish can take what is for it.
            r"\| source$": lambda: "| grep -q complete",
        }

    def _program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def _submit(self, window: timedelta | None = None) -> str:
        source = self.folder / "batch.jsonl"
        self._batch = self.client.submit(source, completion_window=window).id
        return self._batch

    def _ended(self) -> str:
        if not self._batch:
            self.client.wait(self._submit(), timeout=60)
        return self._batch

    def _running(self) -> str:
        self.suite.sandbox("/sandbox/config", {"batch_seconds": 600})
        return self._submit()

    def _expired(self) -> str:
        self.suite.sandbox("/sandbox/config", {"batch_seconds": 600})
        self.client.wait(self._submit(timedelta(seconds=1)), timeout=60)
        return self._batch

    def _let_go(self) -> None:
        """The next example has a batch of its own, and a provider that answers."""
        self.suite.sandbox("/sandbox/config", INSTANT)
        if self._batch:
            with suppress(NotFound, Conflict):
                self.client.cancel_batch(self._batch)
        self._batch = ""

    def _cause(self) -> str:
        return self.client.failure_causes(self._ended()).causes[0].id

    def _file(self) -> str:
        return self.client.upload(self.folder / "batch.jsonl").id

    def _key(self) -> str:
        return self.client.keys.create("example").key.id

    def _webhook(self) -> str:
        return self.client.webhooks.create(f"https://example.com/{self._name()}").id

    def _delivery(self) -> str:
        self.client.webhooks.test(self._webhook())
        wait_for(lambda: any(True for _ in self.client.webhooks.deliveries()), "a delivery")
        return next(iter(self.client.webhooks.deliveries())).id

    def _name(self) -> str:
        self._names += 1
        return f"team-{self._names}"

    def _account(self) -> str:
        return self.client.accounts.create(self._name(), funding=Funding.PREPAID).name


@pytest.fixture
def workplace(suite: Suite, tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(suite, tmp_path)
    yield place
    place.close()


def test_every_example_of_the_help_runs(workplace: Workplace) -> None:
    assert len(EXAMPLES) > 80
    wrong = []
    for example in EXAMPLES:
        try:
            workplace.run(example)
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, "\n\n".join(wrong)
