"""What any adapter must do, as cases to run against a stand-in for its provider.

    for case in CASES:
        if case.calls <= stand.calls:
            await run(case, stand, folder)

A case raises Nonconformity where the adapter departs from core.providers.contract. It
needs a Stand: a server that can be told to misbehave, empty for each case.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from core.providers.conformance import discarding, listing, reading, submitting, watching
from core.providers.conformance.bench import Bench, Nonconformity, bench
from core.providers.conformance.stand import (
    Answer,
    Call,
    Cut,
    Dropped,
    Fate,
    Garbage,
    LostAnswer,
    Stalled,
    Stand,
    Trouble,
    UnknownStatus,
)

__all__ = [
    "CASES",
    "Answer",
    "Call",
    "Case",
    "Cut",
    "Dropped",
    "Fate",
    "Garbage",
    "LostAnswer",
    "Nonconformity",
    "Stalled",
    "Stand",
    "Trouble",
    "UnknownStatus",
    "run",
]


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that an adapter must do."""

    check: Callable[[Bench], Awaitable[None]]
    calls: frozenset[Call] = frozenset()
    """Those without which it makes no sense."""

    @property
    def name(self) -> str:
        return self.check.__name__


async def run(case: Case, stand: Stand, folder: Path) -> None:
    """Run a case. Raises Nonconformity. `folder` takes its spools."""
    async with bench(stand, folder) as made:
        await case.check(made)


_UPLOAD = frozenset({Call.UPLOAD})
_DISCARD = frozenset({Call.UPLOAD, Call.DISCARD})

CASES = (
    Case(submitting.one_batch_is_created),
    Case(submitting.a_gate_that_stays_closed),
    Case(submitting.a_gate_that_opens),
    Case(submitting.a_refusal_that_passes),
    Case(submitting.a_refusal_for_good),
    Case(submitting.an_overload),
    Case(submitting.a_lost_answer),
    Case(submitting.an_answer_that_breaks_off),
    Case(submitting.an_answer_that_does_not_come_in_time),
    Case(submitting.a_create_that_never_arrived),
    Case(submitting.an_answer_of_garbage),
    Case(submitting.absence_is_doubted_at_first),
    Case(submitting.batches_are_told_apart),
    Case(submitting.an_upload_that_fails, _UPLOAD),
    Case(submitting.an_upload_that_is_refused, _UPLOAD),
    Case(submitting.an_upload_that_is_sent_again, _UPLOAD),
    Case(submitting.a_huge_error),
    Case(discarding.inputs_are_discarded, _DISCARD),
    Case(discarding.a_discard_that_is_refused, _DISCARD),
    Case(discarding.a_discard_that_fails_for_now, _DISCARD),
    Case(discarding.a_refused_create_keeps_its_upload, _DISCARD),
    Case(discarding.a_kept_upload_that_is_gone, _DISCARD),
    Case(discarding.attempts_with_one_upload_are_told_apart, _DISCARD),
    Case(discarding.uploads_that_nobody_knows_are_found_by_name, _DISCARD),
    Case(discarding.an_adopted_batch_names_its_input, _DISCARD),
    Case(watching.a_batch_that_is_not_known_yet),
    Case(watching.a_state_that_nobody_knows),
    Case(watching.polls_that_fail_once),
    Case(watching.polls_that_keep_failing),
    Case(watching.a_poll_that_brings_garbage),
    Case(watching.a_poll_that_is_refused),
    Case(watching.a_rate_limit),
    Case(watching.a_huge_error_to_a_poll),
    Case(watching.a_cancelled_batch_keeps_what_was_run),
    Case(watching.a_cancel_whose_answer_is_lost),
    Case(watching.a_cancel_that_comes_too_late),
    Case(watching.an_expired_batch),
    Case(watching.the_key_is_never_told),
    Case(listing.many_are_seen_at_once),
    Case(listing.what_the_list_does_not_show),
    Case(listing.more_than_a_page),
    Case(listing.a_list_that_cannot_be_read),
    Case(reading.every_line_is_answered_once),
    Case(reading.lines_that_fail),
    Case(reading.results_that_break_off),
    Case(reading.results_of_garbage),
    Case(reading.results_that_cannot_be_had_now),
    Case(reading.results_that_are_refused),
    Case(reading.a_reader_that_stops_early),
    Case(reading.requests_that_cannot_be_sent),
    Case(reading.the_longest_custom_id),
)
