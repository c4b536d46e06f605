"""What the documentation tells people to copy is right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from core.batchfile import LineScanner
from core.providers.configured import read_providers_file
from core.providers.registry import KnownProviders
from core.settings import Settings
from services.gateway.checks import upload_rules
from services.sandbox.config import FaultKind, LineOutcome, Options

DOCS = Path(__file__).parents[3] / "docs"


def example(title: str) -> tuple[str, list[str]]:
    """The providers file and the lines under a heading of docs/providers.md."""
    section = (DOCS / "providers.md").read_text().partition(f"### Example: {title}\n")[2]
    section = section.partition("\n### ")[0].partition("\nA mistake in the file")[0]
    blocks = re.findall(r"```(toml|json)\n(.*?)```", section, flags=re.DOTALL)
    [table] = [text for kind, text in blocks if kind == "toml"]
    return table, [text for kind, text in blocks if kind == "json"]


@pytest.mark.parametrize(
    ("title", "name", "models"),
    [
        ("vLLM", "vllm", ["Qwen/Qwen3-8B"]),
        ("Ollama", "ollama", ["llama3.2", "nomic-embed-text"]),
    ],
)
async def test_examples_of_providers(
    tmp_path: Path, title: str, name: str, models: list[str]
) -> None:
    table, lines = example(title)
    path = tmp_path / "providers.toml"
    path.write_text(table)
    known = KnownProviders(read_providers_file(path), lambda variable: "secret", Settings())
    assert known.usable == [name]
    provider = known.open_direct()[name]
    sent = []
    for line in lines:
        scanner = LineScanner(upload_rules(known), max_line_bytes=10_000, max_lines=10)
        assert [part.problems for part in scanner.feed(line.encode())] in ([], [[]])
        last, summary = scanner.finish()
        assert last.problems == summary.warnings == []
        [group] = summary.groups
        sent.append(provider.remote_model(group.model))
    assert sent == models
    await provider.close()


def test_all_of_the_sandbox_is_described() -> None:
    page = (DOCS / "sandbox.md").read_text()
    words = set(re.findall(r"`(\w+)`", page))
    assert set(Options.__struct_fields__) <= words
    assert {*get_args(FaultKind), *get_args(LineOutcome)} <= words
