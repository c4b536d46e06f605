"""What pages are drawn from: searches, batches as they are shown, what happened lately."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from polybatch.v1 import batches_pb2, results_pb2

from services.web.dashboard.finding import filter_of
from services.web.dashboard.recent_batches import _bounded, added, durations
from services.web.dashboard.shown import BatchView, advice, codes, dated, lines, span, tick

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
RUNNING = batches_pb2.BATCH_STATE_IN_PROGRESS
COMPLETED = batches_pb2.BATCH_STATE_COMPLETED


def at(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(NOON + timedelta(seconds=seconds))
    return stamp


def test_advice_names_the_place_of_a_command() -> None:
    convert = advice("expected lines: `polybatch convert FILE -o x.jsonl` makes them")
    assert convert == (
        "expected lines: on the command line, "
        "<code>polybatch convert FILE -o x.jsonl</code> makes them"
    )
    model = advice("for all lines: submit FILE --model NAME")
    assert model == (
        "for all lines: on the command line, <code>polybatch submit FILE --model NAME</code>"
    )
    assert advice("<b> of nobody") == "&lt;b&gt; of nobody"


def test_lines_are_counted_as_people_count() -> None:
    assert [lines(number) for number in (0, 1, 2, 12_345)] == [
        "0 lines",
        "1 line",
        "2 lines",
        "12,345 lines",
    ]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("", ""),
        ("nightly", 'name:"nightly"'),
        ('nightly "in two words"', 'name:"nightly" AND name:"in two words"'),
        ("team=search", 'metadata.team = "search"'),
        ('team="a b" x', 'metadata.team = "a b" AND name:"x"'),
        ("job-id=7", 'metadata."job-id" = "7"'),
        ("team=", 'metadata.team = ""'),
        # Nobody gets out of the quotes.
        ('a" OR state="COMPLETED', 'name:"a\\"" AND name:"OR" AND metadata.state = "COMPLETED"'),
        ("back\\", 'name:"back\\\\"'),
        ("name:x AND", 'name:"name:x" AND name:"AND"'),
    ],
)
def test_what_is_typed_becomes_a_filter(asked: str, found: str) -> None:
    assert filter_of(asked) == found


def test_a_search_has_no_more_parts_than_a_filter_takes() -> None:
    assert filter_of("word " * 50).count("name:") == 20


def test_a_paused_batch_is_shown_as_such_until_it_ends() -> None:
    batch = batches_pb2.Batch(id="batch_1", state=RUNNING, created_at=at(0), paused_at=at(60))
    view = BatchView(batch, "file.jsonl")
    assert (view.name, view.word, view.paused) == ("file.jsonl", "Paused", True)
    assert [step.name for step in view.steps] == ["Created", "Paused"]
    batch.state, batch.name = batches_pb2.BATCH_STATE_CANCELLED, "Named"
    batch.cancelled_at.CopyFrom(at(90))
    view = BatchView(batch, "file.jsonl")
    assert (view.name, view.word, view.paused) == ("Named", "Cancelled", False)
    assert [step.name for step in view.steps] == ["Created", "Cancelled"]


def test_a_pause_is_told_once_and_other_reasons_beside_it() -> None:
    own = "paused: by key_1 since 2026-11-01 12:01 UTC; it goes on when it is resumed"
    other = "paused: key_1 lets nothing be sent to openai since 2026-11-01 12:01 UTC"
    batch = batches_pb2.Batch(state=RUNNING, paused_at=at(60), paused_by="key_1")
    for reason, of_batch, of_shard in (
        (own, "", "paused with the batch"),
        (other, other, other),
        ("", "", ""),
    ):
        batch.waiting_reason = reason
        view = BatchView(batch)
        assert view.waits == of_batch
        assert view.shard_waits(batches_pb2.ShardStatus(waiting_reason=reason)) == of_shard


def test_a_hundred_percent_is_all() -> None:
    expected = {0.04: 0, 66.6667: 66.6, 99.96: 99.9, 99.9999: 99.9, 100: 100}
    for progress, shown in expected.items():
        view = BatchView(batches_pb2.Batch(state=RUNNING, progress_percent=progress))
        assert view.percent == shown
    assert BatchView(batches_pb2.Batch(state=COMPLETED, progress_percent=99.9)).percent == 100


def test_an_end_is_told_as_far_as_anybody_knows() -> None:
    batch = batches_pb2.Batch(state=RUNNING, created_at=at(0), progress_percent=50)
    assert BatchView(batch).ends is None
    estimate = batch.completion_estimate
    for second, name in enumerate(("range_from", "likely_from", "likely_until", "range_until")):
        getattr(estimate, name).CopyFrom(at(second))
    ends = BatchView(batch).ends
    assert ends is not None
    assert ends.first < ends.likely < ends.by < ends.last
    assert ends.by == NOON + timedelta(seconds=2)
    batch.state = COMPLETED
    batch.completed_at.CopyFrom(at(9))
    assert BatchView(batch).ends is None


def test_results_that_were_deleted_are_not_offered() -> None:
    succeeded, failed = batches_pb2.RESULTS_KIND_SUCCEEDED, batches_pb2.RESULTS_KIND_FAILED
    counts = batches_pb2.RequestCounts(total=3, succeeded=2, failed=1)
    for deleted, offered in (
        ([], (True, True)),
        ([succeeded], (False, True)),
        ([failed], (False, False)),
        ([succeeded, failed], (False, False)),
    ):
        batch = batches_pb2.Batch(state=COMPLETED, request_counts=counts, deleted_results=deleted)
        view = BatchView(batch)
        assert (view.has_results, view.has_failures) == offered, deleted


def shard(model: str, began: float | None, ended: float | None) -> batches_pb2.ShardStatus:
    return batches_pb2.ShardStatus(
        provider="openai",
        model=model,
        submitted_at=None if began is None else at(began),
        settled_at=None if ended is None else at(ended),
    )


def test_durations_are_of_shards_that_went_and_came_back() -> None:
    batches = [
        batches_pb2.Batch(
            shards=[shard("a", 0, 10), shard("a", 5, 25), shard("b", 0, 1), shard("c", None, 9)]
        ),
        batches_pb2.Batch(shards=[shard("a", 0, 30), shard("a", 7, None), shard("a", 0, 40)]),
    ]
    took = {each.model: each for each in durations(batches)}
    assert set(took) == {"a", "b"}
    a, b = took["a"], took["b"]
    assert (a.shards, a.least, a.median, a.most) == (4, 10, 25, 40)
    assert a.least <= a.low <= a.median <= a.high <= a.most
    assert (b.least, b.low, b.median, b.high, b.most) == (1, 1, 1, 1, 1)


def test_causes_of_batches_are_added_up() -> None:
    def answer(*counts: tuple[str, int], other: int = 0) -> results_pb2.ListFailureCausesResponse:
        causes = [
            results_pb2.FailureCause(id=name, code=name, line_count=count, first_lines=[1])
            for name, count in counts
        ]
        failed = sum(count for _, count in counts) + other
        return results_pb2.ListFailureCausesResponse(
            causes=causes, failure_count=failed, other_line_count=other
        )

    many = answer(*((f"rare-{number}", 1) for number in range(20)), other=5)
    total = added([answer(("a", 2), ("b", 7)), answer(("a", 9)), many])
    assert [(each.code, each.line_count) for each in total.causes[:2]] == [("a", 11), ("b", 7)]
    assert not any(each.first_lines for each in total.causes), "lines of which batch?"
    assert total.failure_count == 43
    assert sum(each.line_count for each in total.causes) + total.other_line_count == 43


def test_batches_with_more_failures_than_are_read_are_left_out() -> None:
    def batch(
        name: str, failed: int, state: batches_pb2.BatchState = COMPLETED
    ) -> batches_pb2.Batch:
        counts = batches_pb2.RequestCounts(total=failed, failed=failed)
        return batches_pb2.Batch(id=name, state=state, request_counts=counts)

    unread = batch("never ran", 5, batches_pb2.BATCH_STATE_FAILED)
    assert _bounded([batch("none", 0), unread, batch("some", 5)]) == ["some"]
    assert _bounded([batch("huge", 900_000), batch("some", 5)]) == ["huge"]
    assert len(_bounded(batch(str(number), 1) for number in range(100))) == 20


def test_marks_become_code_and_nothing_else_does() -> None:
    assert codes("Set `max_tokens` to <b>") == "Set <code>max_tokens</code> to &lt;b&gt;"
    assert codes("`<i>`") == "<code>&lt;i&gt;</code>"
    assert codes("odd ` <i>") == "odd ` &lt;i&gt;"


def test_a_day_of_another_year_has_its_year() -> None:
    assert dated(NOON, now=NOON + timedelta(days=61)) == "1 Nov 2026 12:00"
    assert dated(NOON, "%H:%M:%S", NOON + timedelta(days=60)) == "1 Nov 12:00:00"


def test_short_times_and_ticks_keep_what_they_say() -> None:
    assert [span(each) for each in (0, 0.04, 0.4, 2, 9.5, 10.4)] == [
        "0 s",
        "0 s",
        "0.4 s",
        "2 s",
        "9.5 s",
        "10 s",
    ]
    assert [tick(Decimal(each)) for each in ("0", "0.06", "0.012", "1200", "0.5")] == [
        "$0",
        "$0.06",
        "$0.012",
        "$1,200.00",
        "$0.50",
    ]
