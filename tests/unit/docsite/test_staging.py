"""The site has every page, and its links lead to what they lead to in the repository."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docsite.staging import ROOT, BrokenLink, place_of, relinked, shown, stage


def targets_of(page: str) -> list[str]:
    text = re.sub(r"^ *(`{3,}).*?^ *\1 *$|`[^`\n]+`", "", page, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^()\s]+)\)|\b(?:src|srcset)=\"([^\"]+)\"", text)
    return [link.partition("#")[0] for pair in links for link in pair if link]


def named_in(nav: list[dict[str, Any]]) -> Iterator[str]:
    for entry in nav:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else named_in(value)


def test_every_link_of_the_site_leads_somewhere(tmp_path: Path) -> None:
    stage(tmp_path)
    pages = {path: path.read_text() for path in tmp_path.rglob("*.md")}
    for source in (ROOT / "docs").rglob("*.md"):
        assert tmp_path / place_of(source) in pages
    links = 0
    for path, text in pages.items():
        for link in targets_of(text):
            if link and not re.match(r"[a-z]+:", link):
                assert Path(os.path.normpath(path.parent / link)).is_file(), (path, link)
                links += 1
    assert links > 300
    settings = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
    navigated = {tmp_path / name for name in named_in(settings["nav"])}
    assert navigated <= set(pages)
    guides = {tmp_path / place_of(each) for each in (ROOT / "docs").glob("*.md")}
    assert guides <= navigated, "a page that nobody finds"


def test_links_are_moved_and_code_is_not() -> None:
    seen: list[Path] = []
    moved = relinked(
        "[a](../money.md#credits) [b](../../README.md) [c](../../core/settings/work.py) [d](#e)\n"
        "[f](https://example.com/x.md) `[g](nowhere.md)` [h](../../protos/polybatch/v1)\n"
        "| `a \\| b` | c |\n"
        "```\n[i](nowhere.md) \\|\n```\n",
        ROOT / "docs/adr/page.md",
        seen.append,
    )
    assert moved.splitlines() == [
        "[a](../money.md#credits) [b](../index.md) [c](../files/core/settings/work.py.md) [d](#e)",
        "[f](https://example.com/x.md) `[g](nowhere.md)` [h](../files/protos/polybatch/v1.md)",
        "| `a | b` | c |",
        "```",
        "[i](nowhere.md) \\|",
        "```",
    ]
    assert ROOT / "core/settings/work.py" in seen


def test_a_link_to_nothing_is_told_with_its_page() -> None:
    with pytest.raises(BrokenLink, match=r"^docs/page\.md: nowhere\.md is not there$"):
        relinked("[a](nowhere.md)", ROOT / "docs/page.md", print)


def test_a_file_is_shown_as_it_is() -> None:
    source = ROOT / "requirements/docs.in"
    assert source.read_text() in shown(source)
    assert "`files.proto`" in shown(ROOT / "protos/polybatch/v1")
