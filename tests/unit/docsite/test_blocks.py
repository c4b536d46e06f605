"""Whatever the documentation shows as a command or a program exists, and somebody runs it."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from core.batchfile import LineScanner
from core.prices.price_file import read_price_file
from core.providers.configured import read_providers_file
from core.providers.registry import known_providers
from core.settings import ProviderAccess, Settings
from docsite.settings_page import variables
from services.gateway.checks import upload_rules
from services.sandbox.config import Options
from tests.support.documentation.blocks import ROOT, Block, blocks_of, pages, shell_of
from tests.support.documentation.commands import Wrong, check, check_span, commands_in
from tests.support.documentation.registry import ELSEWHERE, NOT_RUN, PAGES, WHOLE_PAGES

PAGES_OF = {str(path.relative_to(ROOT)): list(blocks_of(path)) for path in pages()}
BLOCKS = [block for page in PAGES_OF.values() for block in page]
LANGUAGES = {"sh", "console", "python", "json", "toml", "yaml", "text"}
CLIENTS = re.findall(
    r"`(POLYBATCH_[A-Z_]+)`", (ROOT / "docs/settings.md").read_text().partition("## Services")[0]
)
VARIABLES = {
    *variables(),
    *CLIENTS,
    *(f"POLYBATCH_SANDBOX_{name.upper()}" for name in (*Options.__struct_fields__, "speed")),
    "POLYBATCH_FUZZ_FACTOR",
}
FOREIGN = {page for page in WHOLE_PAGES if page.startswith("clients/")}
"""Pages of clients whose language may be any."""


def named(block: Block) -> str:
    return f"{block.page}:{block.line} ({block.name!r})"


def of(page: str, *languages: str) -> Iterator[Block]:
    return (each for each in PAGES_OF[page] if each.language in languages)


def every_page(*languages: str) -> pytest.MarkDecorator:
    """That has a block in one of these languages, which is a matter of these tests."""
    ours = [page for page in PAGES_OF if page not in FOREIGN]
    return pytest.mark.parametrize("page", [page for page in ours if [*of(page, *languages)]])


def test_every_block_says_what_it_is() -> None:
    assert not [
        named(each)
        for each in BLOCKS
        if each.language not in LANGUAGES and each.page not in FOREIGN
    ]


def test_somebody_runs_every_command_and_program() -> None:
    told = {*ELSEWHERE, *NOT_RUN}
    nobody = [
        named(each)
        for each in BLOCKS
        if each.runs
        and each.page not in PAGES
        and each.page not in WHOLE_PAGES
        and each.name not in told
    ]
    assert not nobody, "say in tests/support/documentation/registry.py who runs it"
    assert not told - {each.name for each in BLOCKS}, "there is no such block any more"
    assert not ELSEWHERE.keys() & NOT_RUN.keys()


def test_the_tests_that_run_them_exist() -> None:
    for file, _, name in (test.partition("::") for test in ELSEWHERE.values()):
        assert re.search(rf"^(?:async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), (
            name
        )


@every_page("sh", "console")
def test_commands_targets_and_options_exist(page: str) -> None:
    for block in of(page, "sh", "console"):
        if page == "docs/http-api.md":
            continue  # Scripts, which are run as a whole.
        for command in commands_in(shell_of(block)):
            check(command)
            ours = {each for each in command.variables if each.startswith("POLYBATCH_")}
            assert not ours - VARIABLES


def test_examples_in_the_help_are_taken_by_the_command() -> None:
    tried = 0
    for block in of("docs/reference/cli.md", "text"):
        for line in block.text.splitlines():
            command = re.split(r"\s{2,}", line.strip())[0]
            if command.startswith("polybatch ") and not re.search(r"\[[A-Z]+\]|\.\.\.", command):
                for each in commands_in(command):
                    check(each)
                    tried += 1
    assert tried > 20


def test_commands_and_variables_that_a_text_names_exist() -> None:
    for page in PAGES_OF:
        text = (ROOT / page).read_text()
        for span in re.findall(r"`(polybatch [^`]+)`", text):
            check_span(" ".join(span.split()))
        if "adr/" not in page:
            mentioned = re.findall(r"(?<![.\w])POLYBATCH_[A-Z_]*[A-Z](?![A-Z_]*[_.*])", text)
            assert not {*mentioned} - VARIABLES, page


@every_page("python")
def test_programs_compile(page: str) -> None:
    for block in of(page, "python"):
        compile(block.text, named(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@every_page("json")
def test_lines_of_json_are_lines(page: str, tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    path.write_text("".join(each.text for each in of(page, "toml") if "kind =" in each.text))
    known = known_providers(ProviderAccess(), Settings(providers_file=path))
    for block in of(page, "json"):
        first, *_ = [json.loads(line) for line in block.text.splitlines()]
        if "params" in first or "body" in first:
            scanner = LineScanner(upload_rules(known), max_line_bytes=100_000, max_lines=10)
            parts = list(scanner.feed(block.text.encode()))
            parts.append(scanner.finish()[0])
            assert not [each for part in parts for each in part.problems]


@every_page("toml", "yaml")
def test_files_of_configuration_can_be_read(page: str, tmp_path: Path) -> None:
    for block in of(page, "toml", "yaml"):
        content = (yaml.safe_load if block.language == "yaml" else tomllib.loads)(block.text)
        assert content
        path = tmp_path / "file.toml"
        path.write_text(block.text)
        if "price" in content:
            assert read_price_file(path, required=True)
        elif page == "docs/providers.md" and "project" not in content:
            assert {*content} <= {each.slug for each in read_providers_file(path)}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("polybatch submitt requests.jsonl", "No such command"),
        ("polybatch submit requests.jsonl --speed 3", "No such option"),
        ("polybatch keys create ci --monthly much", "no amount of USD"),
        ("X=1 make up FASTER=1", "FASTER"),
        ("make upp", "upp"),
        ("python -m services.nothing", "services.nothing"),
        ("python -m services.gateway keys create --colour red", "--colour"),
    ],
)
def test_what_is_wrong_is_found(wrong: str, said: str) -> None:
    [command] = commands_in(wrong)
    with pytest.raises(Wrong, match=re.escape(said)):
        check(command)
