"""The files and functions that docs/architecture.md names are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = re.sub(
    r"^```.*?^```", "", (ROOT / "docs/architecture.md").read_text(), flags=re.M | re.DOTALL
)
HEADER = "| what happens to a line | file | function |\n|---|---|---|\n"
ROWS = PAGE.partition(HEADER)[2].partition("\n\n")[0].splitlines()


def files_in(text: str) -> Iterator[tuple[str, list[Path]]]:
    """What a row or paragraph names, and where that is: a bare name is beside the path before."""
    folder = Path()
    for name in re.findall(r"`([\w/*-]+(?:\.(?:py|proto|toml))?)`", text):
        if "/" not in name and "." not in name:
            continue
        pattern = name if "/" in name or folder == Path() else f"{folder}/{name}"
        found = sorted(ROOT.glob(pattern))
        if "/" in name:
            folder = Path(name) if "." not in name else Path(name).parent
        yield pattern, found


def names_in(node: ast.AST, outer: str = "") -> Iterator[str]:
    """What a module defines, with the class that it is in."""
    for each in ast.iter_child_nodes(node):
        match each:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield outer + each.name
                yield from names_in(each, f"{outer}{each.name}.")
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield outer + name


def test_its_table_was_found() -> None:
    assert len(ROWS) > 30


@pytest.mark.parametrize("part", re.split(r"\n\n|\n(?=\|)", PAGE))
def test_the_files_exist(part: str) -> None:
    assert not [pattern for pattern, found in files_in(part) if not found]


@pytest.mark.parametrize("row", ROWS)
def test_the_functions_are_in_the_files_of_their_row(row: str) -> None:
    _, _, files, functions, _ = row.split("|")
    modules = [
        module
        for _, found in files_in(files)
        for path in found
        for module in ([path] if path.is_file() else path.rglob("*.py"))
    ]
    known = {name for module in modules for name in names_in(ast.parse(module.read_text()))}
    owner = ""
    for name in re.findall(r"(?<!the plug-in's )`([\w.]+)`", functions):
        full = owner + name if name.startswith(".") else name
        owner = full.rpartition(".")[0]
        # Without its class where each of the files has one with it, as the adapters.
        found = full in known or any(each.endswith(f".{full}") for each in known)
        assert found, f"{full} is not in {files.strip()}"
