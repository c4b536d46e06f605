"""What the simulated day promises, with few accounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.simulation.calls import simulate_calls
from benchmarks.simulation.day import Day, simulate
from benchmarks.simulation.load import Submission
from benchmarks.simulation.outages import Outage
from benchmarks.simulation.providers import Limits
from benchmarks.simulation.report import all_sent, report
from core.providers.http.outages import LONGEST_PAUSE

_MODELS = ("openai/gpt-4.1",), ("anthropic/claude-4.5-sonnet",)
_LIMITS = {
    "openai": Limits(enqueued_tokens={"gpt-4.1": 20_000_000}),
    "anthropic": Limits(queued_lines=150_000),
}
_OUTAGES = {
    "openai": (Outage(600, 300, "unreachable"), Outage(1500, 120, "lost")),
    "anthropic": (Outage(300, 600, "throttled"), Outage(1800, 120, "lost")),
}
_HUGE = "acct_huge"


def _day(seed: int, outages: Mapping[str, Sequence[Outage]] = _OUTAGES) -> Day:
    """An account that sends more than the providers take at a time, and thirty small ones."""
    huge = [Submission(0.0, _HUGE, 300_000, models) for models in _MODELS]
    small = [
        Submission(60.0 + 90 * number, f"acct_{number}", 40, _MODELS[number % 2])
        for number in range(30)
    ]
    return simulate(0, seed, limits=_LIMITS, outages=outages, submissions=[*huge, *small])


def test_the_same_seed_gives_the_same_day_in_which_every_line_ends() -> None:
    day, again = _day(3), _day(3)

    assert report(day) == report(again)
    batches = day.ledger.batch_rows.values()
    assert [batch.succeeded for batch in batches] == [batch.total for batch in batches]


def test_no_call_is_made_while_a_provider_wants_none() -> None:
    servers = _day(4).servers.values()

    assert all(server.refusals for server in servers)
    assert [server.early for server in servers] == [0, 0]


def test_an_hour_in_which_a_provider_refuses_everything_costs_tens_of_calls() -> None:
    """However many batches wait or run, over all replicas; and its end is noticed."""
    small = [
        Submission(30.0 * number, f"acct_{number}", 40, _MODELS[number % 2])
        for number in range(120)
    ]
    hour = (Outage(900, 3600, "overloaded"),)
    outages = {"openai": hour, "anthropic": hour}
    day = simulate(0, 7, limits=_LIMITS, outages=outages, submissions=small)

    for server in day.servers.values():
        (away,) = server.away
        assert 50 < away.calls.total() < 100
        assert away.noticed is not None
        assert away.noticed <= LONGEST_PAUSE
    # All that waited goes on soon, too.
    assert max(all_sent(each) for each in day.followed) < 3600 + 3 * LONGEST_PAUSE
    assert all(batch.succeeded == batch.total for batch in day.ledger.batch_rows.values())


def test_small_accounts_do_not_wait_for_a_huge_one() -> None:
    # A create whose answer was lost is known when its batch has ended, whoever else sends.
    heard = {name: [o for o in each if o.kind != "lost"] for name, each in _OUTAGES.items()}
    day = _day(5, heard)

    huge = min(all_sent(each) for each in day.followed if each.submission.account == _HUGE)
    small = [all_sent(each) for each in day.followed if each.submission.account != _HUGE]
    # The longest outage is part of it.
    assert max(small) < huge / 5


def test_single_calls_obey_the_provider_and_are_shared_out_evenly() -> None:
    calls = simulate_calls(6)

    assert set(calls.outcomes) == {"answered", "full", "lost", "throttled", "unreachable"}
    assert calls.early == 0
    # The huge account has two shards running, as many as one batch may.
    huge = calls.answered.pop("huge") / 2
    assert all(0.9 < small / huge < 1.1 for small in calls.answered.values())
    # What the server bears is found, from below: few calls are refused, and it is kept busy.
    assert calls.outcomes["full"] < calls.outcomes["answered"] / 10
