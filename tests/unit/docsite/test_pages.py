"""Pages that are made of the code are as the code is, and leave nothing out."""

from __future__ import annotations

import re
from pathlib import Path

import click
import polybatch
import pytest
from polybatch.cli.program import cli

from core.settings import Settings
from docsite.__main__ import DOCS, PAGES
from docsite.settings_page import variables
from docsite.source_texts import field_texts

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", PAGES)
def test_it_is_up_to_date(name: str) -> None:
    assert PAGES[name]() == (DOCS / name).read_text(), "run make docs"


def test_every_setting_is_described() -> None:
    page = (DOCS / "settings.md").read_text()
    shown = re.findall(r"^\| (`[A-Z].*?) \|", page, re.M)
    assert {*variables()} <= set(re.findall(r"\w+", " ".join(shown)))
    for group in Settings.__bases__:
        assert all(field_texts(group).values()), f"{group.__name__}: a field without a text"


def test_what_the_client_reads_of_the_environment_is_described() -> None:
    source = ROOT / "clients/python/src/polybatch"
    read = {
        name
        for path in source.rglob("*.py")
        for name in re.findall(r'"(POLYBATCH_[A-Z_]+)"', path.read_text())
    }
    assert len(read) > 8
    clients = (DOCS / "settings.md").read_text().partition("## Clients\n")[2]
    assert read <= set(re.findall(r"`(\w+)`", clients.partition("\n## ")[0]))


def test_no_command_and_no_class_is_left_out() -> None:
    commands = set(re.findall(r"^## polybatch ([\w-]+)$", PAGES["reference/cli.md"](), re.M))
    assert commands == set(cli.list_commands(click.Context(cli)))
    page = PAGES["reference/python.md"]()
    shown = set(re.findall(r"^### (\w+)$", page, re.M)) | set(re.findall(r"\| `(Async\w+)`", page))
    assert shown == set(polybatch.__all__)
