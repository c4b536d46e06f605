"""Small files as people have them, each named by what it shows, through the whole suite.

Beside each file stands what is right: what the validation report says, and what comes back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from polybatch import BatchState, Client, File, PolybatchError, ResultLine

from tests.support.e2e.suite import Suite

FILES = Path(__file__).parents[1] / "field" / "files"
EXPECTED = ".expected.json"
NAMES = sorted(path.name.removesuffix(EXPECTED) for path in FILES.glob(f"*{EXPECTED}"))
PATIENCE = 120.0
AT_A_TIME = 8
SOME = {
    *("plain-models-of-three-providers", "plain-model-of-an-own-server", "compressed-with-zstd"),
    *("plain-openai-embeddings", "openai-responses", "responses-of-other-providers"),
    *("anthropics-own-lines-with-their-features", "geminis-own-lines"),
    *("ids-that-providers-refuse", "a-byte-order-mark-and-windows-line-ends"),
}
"""Batches of what people have most, which `make test` runs too; answers: test_bad_answers.py."""

pytestmark = pytest.mark.timeout(180)


class Place(msgspec.Struct, frozen=True, order=True):
    """Where a problem is, and which."""

    line: int
    field: str
    reason: str


class Expected(msgspec.Struct, forbid_unknown_fields=True):
    """What is right for one file."""

    report: list[Place]
    warnings: list[Place] | None = None
    """None: they are not the point."""
    results: dict[str, str] | None = None
    """By custom id: "ok", or the code of the error. None: no batch is made."""
    options: dict[str, str] = {}
    """Of the upload."""
    lenient: bool = False
    """Of the batch."""


@dataclass(frozen=True)
class Uploaded:
    """What was found in one file."""

    file: File | None
    """None: it was not taken."""
    report: list[Place]
    warnings: list[Place]


def expected_of(name: str) -> Expected:
    return msgspec.json.decode((FILES / f"{name}{EXPECTED}").read_bytes(), type=Expected)


def input_of(name: str) -> Path:
    (path,) = (each for each in FILES.glob(f"{name}.*") if not each.name.endswith(EXPECTED))
    return path


@pytest.fixture(scope="module")
def client(shared_suite: Suite) -> Iterator[Client]:
    shared_suite.reset_sandbox()
    with shared_suite.client() as connected:
        yield connected


@pytest.fixture(scope="module")
def uploaded(client: Client) -> Callable[[str], Uploaded]:
    """Uploads a file by its name, once."""
    return functools.cache(lambda name: upload(client, name))


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, client: Client, uploaded: Callable[[str], Uploaded]
) -> Iterator[dict[str, Future[dict[str, str]]]]:
    """Everything that is asked for goes through at the same time, as in life."""
    names = [
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.function is test_what_comes_of_it
    ]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield {name: pool.submit(run, client, name, uploaded(name)) for name in names}


def upload(client: Client, name: str) -> Uploaded:
    try:
        file = client.upload(input_of(name), **expected_of(name).options)
    except PolybatchError as error:
        return Uploaded(None, [Place(0, "", error.reason)], [])
    with closing(client.files.validation_report(file.id)) as found:
        problems = list(found)
    errors = [each for each in problems if each.severity == "error"]
    warnings = [each for each in problems if each.severity == "warning"]
    return Uploaded(file, places(errors), places(warnings))


def run(client: Client, name: str, found: Uploaded) -> dict[str, str]:
    assert found.file is not None
    batch = client.create_batch(found.file, lenient=expected_of(name).lenient)
    ended = client.wait(batch.id, timeout=PATIENCE)
    assert ended.state == BatchState.COMPLETED
    return {line.custom_id: "ok" if line.ok else code_of(line) for line in client.results(batch.id)}


def code_of(line: ResultLine) -> str:
    """What its result says went wrong."""
    if line.error is not None:
        return line.error.code
    assert line.response is not None
    return str(line.response.body["error"]["code"])


def places(problems: list[Any]) -> list[Place]:
    return sorted(Place(each.line, each.field, each.reason) for each in problems)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_found_in_it(uploaded: Callable[[str], Uploaded], name: str) -> None:
    expected = expected_of(name)
    found = uploaded(name)
    assert found.report == sorted(expected.report)
    if expected.warnings is not None:
        assert found.warnings == sorted(expected.warnings)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in SOME else pytest.mark.long)
        for name in NAMES
        if expected_of(name).results is not None
    ],
)
def test_what_comes_of_it(results: dict[str, Future[dict[str, str]]], name: str) -> None:
    assert results[name].result(PATIENCE) == expected_of(name).results


def test_there_are_enough() -> None:
    assert len(NAMES) >= 60
