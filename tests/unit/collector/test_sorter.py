"""Result lines come in any order, twice, or not at all; they go out in input order."""

from __future__ import annotations

import json
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ledger import ModelSpend
from core.pipeline import PricedModel
from core.prices.usage import Usage
from core.providers import Outcome, ResultLine
from services.collector.sorter import Sorter
from services.collector.tally import Tally
from tests.support.prices import price, tally

PREFIX = "shard_x-token-"


def result(
    custom_id: str, text: str = "a", outcome: Outcome = Outcome.SUCCEEDED, tokens: int = 0
) -> ResultLine:
    return ResultLine(
        custom_id=custom_id,
        outcome=outcome,
        response=b'{"t":"%s"}' % text.encode(),
        error=None,
        usage=Usage(input=tokens),
    )


def sorter_of(lines: list[int], folder: Path, *, attempts: int = 1) -> Sorter:
    return Sorter(array("I", lines), tally(len(lines), price()), folder, attempts=attempts)


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
    with sorter_of(lines, tmp_path_factory.getbasetemp()) as sorter:
        for line in arrival:
            sorter.take([result(f"{PREFIX}{line}", str(line))], PREFIX)
        assert sorter.missing() == 0
        cut = len(lines) // 2
        assert [*sorter.pieces(0, cut), *sorter.pieces(cut, len(lines) - cut)] == [
            (Outcome.SUCCEEDED, expected(str(line)), False, 0) for line in lines
        ]


@pytest.mark.parametrize("at_once", [False, True])
def test_of_two_results_a_success_wins_and_else_the_first(tmp_path: Path, at_once: bool) -> None:
    with sorter_of([1, 2, 3], tmp_path) as sorter:
        first = [
            result(f"{PREFIX}1", "good", tokens=5),
            result(f"{PREFIX}2", "bad", Outcome.FAILED, tokens=30),
            result(f"{PREFIX}3", "bad", Outcome.FAILED, tokens=40),
        ]
        second = [
            result(f"{PREFIX}1", "other", Outcome.FAILED, tokens=7),
            result(f"{PREFIX}2", "good", tokens=100),
            result(f"{PREFIX}3", "other", Outcome.RETRYABLE, tokens=7),
        ]
        for group in [first + second] if at_once else [first, second]:
            sorter.take(group, PREFIX)
        assert sorter.duplicates == 3
        assert sorter.pieces(0, 3) == [
            (Outcome.SUCCEEDED, expected("good"), False, 10),
            (Outcome.SUCCEEDED, expected("good"), False, 200),
            (Outcome.FAILED, expected("bad", TOLD), False, 80),
        ]
        [spent] = sorter.spend()
        assert (spent.lines, spent.input_tokens) == (3, 145), "one answer of each line counts"
        assert spent.cost_nanos == 290


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.RETRYABLE])
def test_a_failed_line_has_an_error_whatever_its_adapter_gives(
    tmp_path: Path, outcome: Outcome
) -> None:
    refused = b'{"status_code":400,"body":{"error":{"message":"m","code":"bad_thing"}}}'
    odd = [None, b'{"status_code":"odd","body":null}', refused]
    with sorter_of([1, 2, 3], tmp_path) as sorter:
        for line, response in enumerate(odd, start=1):
            sorter.take([ResultLine(f"{PREFIX}{line}", outcome, response, None)], PREFIX)
        errors = [json.loads(b"{" + tail)["error"] for _, tail, *_ in sorter.pieces(0, 3)]
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
    with sorter_of([1, 2], tmp_path) as sorter:
        sorter.take([result(custom_id)], PREFIX)
        assert (sorter.unknown, sorter.missing()) == (1, 2)
        assert sorter.pieces(0, 1) == [(None, b"", False, 0)]


def test_a_line_that_was_never_sent_is_finished_already(tmp_path: Path) -> None:
    with sorter_of([1, 2], tmp_path) as sorter:
        sorter.reject(2, b"whole")
        assert sorter.pieces(0, 2) == [
            (None, b"", False, 0),
            (Outcome.FAILED, b"whole", True, 0),
        ]
        assert sorter.missing() == 1


def test_the_rest_is_answered_at_once(tmp_path: Path) -> None:
    with sorter_of([1, 2, 3, 4], tmp_path, attempts=2) as sorter:
        sorter.take([result(f"{PREFIX}3", "good")], PREFIX)
        sorter.answer_rest(Outcome.EXPIRED, b'{"code":"batch_expired","message":"m"}')
        assert sorter.missing() == 0
        error = b'"response":null,"error":{"code":"batch_expired","message":"m"},"attempts":2}'
        pieces = sorter.pieces(0, 4)
        assert pieces[2][0] is Outcome.SUCCEEDED
        assert [*pieces[:2], *pieces[3:]] == [(Outcome.EXPIRED, error, False, 0)] * 3
        sorter.answer_rest(Outcome.FAILED, b"{}")
        assert sorter.pieces(0, 4) == pieces


def test_of_a_model_without_a_price_lines_with_tokens_are_counted(tmp_path: Path) -> None:
    with Sorter(array("I", [1, 2]), tally(2), tmp_path, attempts=1) as sorter:
        sorter.take([result(f"{PREFIX}1", tokens=5), result(f"{PREFIX}2")], PREFIX)
        assert [cost for *_, cost in sorter.pieces(0, 2)] == [None, 0]
        [spent] = sorter.spend()
        assert (spent.lines, spent.unpriced_lines, spent.cost_nanos) == (2, 1, 0)


def test_each_model_of_a_shard_has_its_own_price(tmp_path: Path) -> None:
    models = {
        4: PricedModel("anthropic/a", price("anthropic", "a")),
        7: PricedModel("anthropic/b", price("anthropic", "b", input=5_000_000)),
        8: PricedModel("anthropic/c", price("anthropic", "c")),
    }
    counted = Tally(array("H", [4, 7, 4]), models)
    with Sorter(array("I", [1, 2, 3]), counted, tmp_path, attempts=1) as sorter:
        sorter.take([result(f"{PREFIX}{line}", tokens=10) for line in (3, 1, 2)], PREFIX)
        assert [cost for *_, cost in sorter.pieces(0, 3)] == [20, 50, 20]
        assert sorter.spend() == [
            ModelSpend("anthropic/a", 2, input_tokens=20, cost_nanos=40),
            ModelSpend("anthropic/b", 1, input_tokens=10, cost_nanos=50),
        ]
