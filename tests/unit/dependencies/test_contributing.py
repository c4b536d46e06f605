"""The pages that contributors follow name commands and files that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / ".github").rglob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "clients/README.md",
    ROOT / "clients/python/README.md",
]
CONFIGURATION = [
    ROOT / ".ci/run",
    ROOT / ".pre-commit-config.yaml",
    *sorted((ROOT / ".github").rglob("*.yml")),
]

_TARGET = re.compile(r"^([a-z][a-z0-9-]*):(?!=)", re.MULTILINE)
_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`[^`]+`")
# Where a command may begin; then targets and variables, up to a comment, a comma or the end.
_MAKE = re.compile(
    r"(?:^|`|: |- |\$ |&& |=\S+ )[ \t]*make((?: +(?:[A-Z_]+=[^\s`]*|[a-z][a-z0-9-]*(?![\w./-])))+)",
    re.MULTILINE,
)
_LINK = re.compile(r"\]\(([^()\s]+)\)|^\[[^\]]+\]: +(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)

TARGETS = frozenset(_TARGET.findall((ROOT / "Makefile").read_text()))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def targets_in(code: str) -> set[str]:
    """The targets of all calls of make in some code."""
    words = (word for call in _MAKE.findall(code) for word in call.split())
    return {word for word in words if "=" not in word}


def code_of(page: str) -> str:
    """What is code in a page: elsewhere "make" is a verb."""
    fences = [each for each in _FENCE.findall(page) if not each.lstrip().startswith("```text")]
    return "\n".join([*fences, *_SPAN.findall(_FENCE.sub("", page))])


def links_of(page: str) -> Iterator[str]:
    """The relative links of a page, outside its code."""
    for inline, reference in _LINK.findall(_SPAN.sub("", _FENCE.sub("", page))):
        link = inline or reference
        if not re.match(r"[a-z]+:", link):
            yield link


def anchors_of(page: str) -> set[str]:
    """The fragments by which GitHub links to a page's headings."""
    headings = _HEADING.findall(_FENCE.sub("", page))
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def test_what_is_looked_at_is_found() -> None:
    assert {"test", "test-long", "lint", "verify"} <= TARGETS
    assert targets_in("run: make lint A=b test  # then make sure") == {"lint", "test"}
    assert targets_in(code_of("make do with `make key ACCOUNT=a`")) == {"key"}
    assert targets_in(code_of("```\nCI=1 make up\n```\nmake do")) == {"up"}
    assert WORKFLOWS
    names = {name_of(page) for page in PAGES}
    assert names >= {"README.md", "CONTRIBUTING.md", "AGENTS.md", "SECURITY.md", "docs/testing.md"}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_targets_that_a_page_names_exist(path: Path) -> None:
    assert targets_in(code_of(path.read_text())) <= TARGETS


@pytest.mark.parametrize("path", CONFIGURATION, ids=name_of)
def test_targets_that_configuration_calls_exist(path: Path) -> None:
    assert targets_in(path.read_text()) <= TARGETS


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(path: Path) -> None:
    broken = []
    for link in links_of(path.read_text()):
        name, _, fragment = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (
            fragment and target.suffix == ".md" and fragment not in anchors_of(target.read_text())
        ):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("path", WORKFLOWS, ids=name_of)
def test_workflows_may_only_read_and_run_what_exists(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"]
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])
            else:
                assert (ROOT / step["run"]).exists()


def test_the_client_carries_the_licence_of_the_suite() -> None:
    licence = (ROOT / "LICENSE").read_text()
    assert (ROOT / "clients/python/LICENSE").read_text() == licence
