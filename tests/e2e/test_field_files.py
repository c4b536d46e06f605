"""Small files as people have them, each named by what it shows, through the whole suite.

Beside each file stands what is right: what the validation report says, and what comes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from polybatch import BatchState, Client, PolybatchError, ResultLine

from tests.support.e2e.suite import Suite

FILES = Path(__file__).parents[1] / "field" / "files"
EXPECTED = ".expected.json"
NAMES = sorted(path.name.removesuffix(EXPECTED) for path in FILES.glob(f"*{EXPECTED}"))
PATIENCE = 120.0
AT_A_TIME = 8

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
class Seen:
    """What came of one file."""

    report: list[Place]
    warnings: list[Place]
    results: dict[str, str] | None


def expected_of(name: str) -> Expected:
    return msgspec.json.decode((FILES / f"{name}{EXPECTED}").read_bytes(), type=Expected)


def input_of(name: str) -> Path:
    (path,) = (each for each in FILES.glob(f"{name}.*") if not each.name.endswith(EXPECTED))
    return path


@pytest.fixture(scope="module")
def seen(shared_suite: Suite) -> Iterator[dict[str, Future[Seen]]]:
    """Everything goes through at the same time, as in life."""
    shared_suite.reset_sandbox()
    with shared_suite.client() as client, ThreadPoolExecutor(AT_A_TIME) as pool:
        yield {name: pool.submit(run, client, name) for name in NAMES}


def run(client: Client, name: str) -> Seen:
    expected = expected_of(name)
    options: dict[str, Any] = dict(expected.options)
    try:
        file = client.upload(input_of(name), **options)
    except PolybatchError as error:
        return Seen([Place(0, "", error.reason)], [], None)
    with closing(client.files.validation_report(file.id)) as found:
        problems = list(found)
    errors = [each for each in problems if each.severity == "error"]
    warnings = [each for each in problems if each.severity == "warning"]
    results: dict[str, str] | None = None
    if expected.results is not None and all(each.lenient for each in errors):
        batch = client.create_batch(file, lenient=expected.lenient)
        ended = client.wait(batch.id, timeout=PATIENCE)
        assert ended.state == BatchState.COMPLETED
        results = {
            line.custom_id: "ok" if line.ok else code_of(line) for line in client.results(batch.id)
        }
    return Seen(places(errors), places(warnings), results)


def code_of(line: ResultLine) -> str:
    """What its result says went wrong."""
    if line.error is not None:
        return line.error.code
    assert line.response is not None
    return str(line.response.body["error"]["code"])


def places(problems: list[Any]) -> list[Place]:
    return sorted(Place(each.line, each.field, each.reason) for each in problems)


@pytest.mark.parametrize("name", NAMES)
def test_a_file(seen: dict[str, Future[Seen]], name: str) -> None:
    expected = expected_of(name)
    found = seen[name].result(PATIENCE)
    assert found.report == sorted(expected.report)
    if expected.warnings is not None:
        assert found.warnings == sorted(expected.warnings)
    assert found.results == expected.results


def test_there_are_enough() -> None:
    assert len(NAMES) >= 60
