"""Result lines come in any order, twice, or not at all; they go out in input order."""

from __future__ import annotations

import json
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.prices.usage import Usage
from core.providers import Outcome, ResultLine
from services.collector.sorter import Sorter

PREFIX = "shard_x-token-"


def result(
    custom_id: str, text: str = "a", outcome: Outcome = Outcome.SUCCEEDED, tokens: int = 0
) -> ResultLine:
    return ResultLine(
        custom_id=custom_id,
        outcome=outcome,
        provider_line_id="",
        response=b'{"t":"%s"}' % text.encode(),
        error=None,
        usage=Usage(input=tokens),
    )


TOLD = (
    b'{"code":"provider_error","message":"The provider answered with status 0 and gave no reason."}'
)


def expected(text: str, error: bytes = b"null") -> bytes:
    return b'"response":{"t":"%s"},"error":%s,"attempts":1}' % (text.encode(), error)


@given(
    st.lists(st.integers(1, 10_000), unique=True, min_size=1).flatmap(
        lambda lines: st.tuples(st.just(sorted(lines)), st.permutations(lines))
    )
)
def test_any_order_comes_out_in_line_order(
    tmp_path_factory: pytest.TempPathFactory, orders: tuple[list[int], list[int]]
) -> None:
    lines, arrival = orders
    with Sorter(array("I", lines), tmp_path_factory.getbasetemp(), attempts=1) as sorter:
        for line in arrival:
            sorter.take([result(f"{PREFIX}{line}", str(line))], PREFIX)
        assert sorter.missing() == 0
        cut = len(lines) // 2
        assert [*sorter.pieces(0, cut), *sorter.pieces(cut, len(lines) - cut)] == [
            (Outcome.SUCCEEDED, expected(str(line)), False) for line in lines
        ]


def test_of_two_results_a_success_wins_and_else_the_first(tmp_path: Path) -> None:
    with Sorter(array("I", [1, 2, 3]), tmp_path, attempts=1) as sorter:
        first = [
            result(f"{PREFIX}1", "good", tokens=5),
            result(f"{PREFIX}2", "bad", Outcome.FAILED),
            result(f"{PREFIX}3", "bad", Outcome.FAILED),
        ]
        second = [
            result(f"{PREFIX}1", "other", Outcome.FAILED, tokens=7),
            result(f"{PREFIX}2", "good"),
            result(f"{PREFIX}3", "other", Outcome.RETRYABLE),
        ]
        sorter.take(first, PREFIX)
        sorter.take(second, PREFIX)
        assert sorter.duplicates == 3
        assert sorter.pieces(0, 3) == [
            (Outcome.SUCCEEDED, expected("good"), False),
            (Outcome.SUCCEEDED, expected("good"), False),
            (Outcome.FAILED, expected("bad", TOLD), False),
        ]
        assert sorter.usage.input == 5, "a result that does not count costs nothing"


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.RETRYABLE])
def test_a_failed_line_has_an_error_whatever_its_adapter_gives(
    tmp_path: Path, outcome: Outcome
) -> None:
    refused = b'{"status_code":400,"body":{"error":{"message":"m","code":"bad_thing"}}}'
    odd = [None, b'{"status_code":"odd","body":null}', refused]
    with Sorter(array("I", [1, 2, 3]), tmp_path, attempts=1) as sorter:
        for line, response in enumerate(odd, start=1):
            sorter.take([ResultLine(f"{PREFIX}{line}", outcome, "", response, None)], PREFIX)
        errors = [json.loads(b"{" + tail)["error"] for _, tail, _ in sorter.pieces(0, 3)]
    assert all(error["code"] and error["message"] for error in errors)
    assert errors[2] == {"code": "bad_thing", "message": "m"}


@pytest.mark.parametrize(
    "custom_id",
    [
        "",
        "user-1",
        "shard_x-other-1",
        "shard_y-token-1",
        f"{PREFIX}9",
        f"{PREFIX}-1",
        f"{PREFIX}1x",
        PREFIX,
        PREFIX + "9" * 5000,
        f"{PREFIX}٣",
    ],
)
def test_unknown_lines_are_counted_and_left_out(tmp_path: Path, custom_id: str) -> None:
    with Sorter(array("I", [1, 2]), tmp_path, attempts=1) as sorter:
        sorter.take([result(custom_id)], PREFIX)
        assert (sorter.unknown, sorter.missing()) == (1, 2)
        assert sorter.pieces(0, 1) == [(None, b"", False)]


def test_a_line_that_was_never_sent_is_finished_already(tmp_path: Path) -> None:
    with Sorter(array("I", [1, 2]), tmp_path, attempts=1) as sorter:
        sorter.reject(2, b"whole")
        assert sorter.pieces(0, 2) == [(None, b"", False), (Outcome.FAILED, b"whole", True)]
        assert sorter.missing() == 1


def test_the_rest_is_answered_at_once(tmp_path: Path) -> None:
    with Sorter(array("I", [1, 2, 3, 4]), tmp_path, attempts=2) as sorter:
        sorter.take([result(f"{PREFIX}3", "good")], PREFIX)
        sorter.answer_rest(Outcome.EXPIRED, b'{"code":"batch_expired","message":"m"}')
        assert sorter.missing() == 0
        error = b'"response":null,"error":{"code":"batch_expired","message":"m"},"attempts":2}'
        pieces = sorter.pieces(0, 4)
        assert pieces[2][0] is Outcome.SUCCEEDED
        assert [*pieces[:2], *pieces[3:]] == [(Outcome.EXPIRED, error, False)] * 3
        sorter.answer_rest(Outcome.FAILED, b"{}")
        assert sorter.pieces(0, 4) == pieces
