"""What a simulated day says, as tables."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

from benchmarks.scale.compared import columns
from benchmarks.simulation.calls import CAPACITY, SHARDS, Calls
from benchmarks.simulation.day import Day, Followed
from benchmarks.simulation.load import DAY, HOUR

CLASSES = ((100, "up to 100"), (1_000, "1,000"), (10_000, "10,000"), (100_000, "100,000"))
_LARGEST = "more"
_KINDS = ("upload", "create", "look", "list page", "download", "delete", "cancel")


def report(day: Day) -> str:
    """All of it."""
    return "\n\n".join((_waiting(day), _fairness(day), _calls(day)))


def calls_report(calls: Calls) -> str:
    """What single calls came to."""
    answered = [calls.answered[account] for account in sorted(set(SHARDS))]
    outcomes = ", ".join(f"{kind} {count:,}" for kind, count in sorted(calls.outcomes.items()))
    return (
        f"Single calls in two hours, at a server that bears {CAPACITY} at a time: {outcomes}; "
        f"{calls.in_outages:,} in 20 minutes of outages, {calls.early} while a Retry-After held.\n"
        f"Answered, the huge account (two shards) first: {', '.join(map(str, answered))}"
    )


def of_account(day: Day) -> dict[str, int]:
    """Lines of the day, by account."""
    lines: dict[str, int] = defaultdict(int)
    for each in day.followed:
        lines[each.submission.account] += each.submission.lines
    return lines


def unsent(each: Followed) -> float:
    """Seconds until the first shard of a batch was at its provider."""
    return (each.first_sent or math.inf) - each.submission.moment


def all_sent(each: Followed) -> float:
    """Seconds until the last was."""
    return (each.last_sent or math.inf) - each.submission.moment


def ended(each: Followed) -> float:
    """Seconds until each line had its answer."""
    return (each.ended or math.inf) - each.submission.moment


def noticed(each: Followed) -> float:
    """Seconds from the end at the provider to the batch's."""
    return (each.ended or math.inf) - each.provider_ended


_MEASURES = (
    ("until one shard is sent", unsent),
    ("until all are", all_sent),
    ("until the end", ended),
    ("end seen after", noticed),
)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that so large a share of the values does not exceed."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def jain(values: Sequence[float]) -> float:
    """Jain's index: 1 where all have the same, 1/n where one has all."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def by_class(day: Day) -> dict[str, list[Followed]]:
    """Batches, by how many lines their account sends in the day."""
    lines = of_account(day)
    found: dict[str, list[Followed]] = {name: [] for _, name in (*CLASSES, (0, _LARGEST))}
    for each in day.followed:
        size = lines[each.submission.account]
        found[next((name for most, name in CLASSES if size <= most), _LARGEST)].append(each)
    return {name: batches for name, batches in found.items() if batches}


def _waiting(day: Day) -> str:
    head = ("lines of an account", "accounts", "batches", *(name for name, _ in _MEASURES))
    rows: list[Sequence[str]] = [head]
    for name, batches in by_class(day).items():
        accounts = {each.submission.account for each in batches}
        shown = [_quantiles(batches, measure) for _, measure in _MEASURES]
        rows.append((name, f"{len(accounts):,}", f"{len(batches):,}", *shown))
    lines = sum(each.submission.lines for each in day.followed)
    about = (
        f"{len(of_account(day)):,} accounts sent {len(day.followed):,} batches of {lines:,} lines "
        f"in {len(day.ledger.rows):,} shards; all had ended {_span(day.ended_at)} after midnight."
    )
    return f"{about}\nWaiting, p50 / p95 / p99 of the batches:\n{columns(rows)}"


def _fairness(day: Day) -> str:
    """Jain's index of how fast the accounts were served, and what crowds did to small ones."""
    shares: dict[str, list[float]] = defaultdict(list)
    for each in day.followed:
        # Of the time until the end, what the provider took: 1 where nobody stood in the way.
        run = each.provider_ended - (each.last_sent or 0.0)
        shares[each.submission.account].append(max(run, 0.0) / ended(each))
    values = [sum(each) / len(each) for each in shares.values()]
    return (
        "Fairness, Jain's index of the share of its time that an account's batches ran at their "
        f"provider: {jain(values):.3f} (1: all alike)"
    )


def _calls(day: Day) -> str:
    rows: list[Sequence[str]] = [
        ("calls", *_KINDS, "all", "busiest hour", "most creates in an hour")
    ]
    for name, server in day.servers.items():
        hours: dict[int, int] = defaultdict(int)
        creates: dict[int, int] = defaultdict(int)
        kinds: dict[str, int] = defaultdict(int)
        for (hour, kind), count in server.calls.items():
            hours[hour] += count
            kinds[kind] += count
            creates[hour] += count if kind == "create" else 0
        limit = server.limits.creates_an_hour
        rows.append(
            (
                *(name, *(f"{kinds[kind]:,}" for kind in _KINDS), f"{sum(hours.values()):,}"),
                *(f"{max(hours.values()):,}", f"{max(creates.values()):,} of {limit:,}"),
            )
        )
    looks = [_looks(day, name) for name in day.servers]
    refused = [
        f"{name} refused: "
        + (", ".join(f"{why} {count:,}" for why, count in sorted(server.refusals.items())) or "-")
        + f"; calls while a Retry-After held: {server.early}"
        for name, server in day.servers.items()
    ]
    return "\n".join([columns(rows), *looks, *refused, *_outages(day)])


def _outages(day: Day) -> list[str]:
    rows: list[Sequence[str]] = [("outages", "from", "for", "calls", *_KINDS, "noticed after")]
    for name, server in day.servers.items():
        for away in server.away:
            outage = away.outage
            noticed = _span(away.noticed) if away.noticed is not None else "-"
            rows.append(
                (
                    *(f"{name}, {outage.kind}", f"{outage.start / HOUR:g} h"),
                    *(_span(outage.seconds), f"{away.calls.total():,}"),
                    *(f"{away.calls[kind]:,}" for kind in _KINDS),
                    noticed,
                )
            )
    return ["", "All calls of a provider are made with one key.", columns(rows)]


def _looks(day: Day, name: str) -> str:
    server = day.servers[name]
    hours = [
        sum(server.calls[hour, kind] for kind in ("look", "list page"))
        for hour in range(int(DAY / HOUR))
    ]
    busiest = max(range(len(hours)), key=hours.__getitem__)
    return (
        f"{name}: {sum(hours) / len(hours):,.0f} looks and list pages an hour for "
        f"{len(server.batches):,} batches; {hours[busiest]:,} in the busiest one, with "
        f"{server.calls[busiest, 'create']:,} creates and up to {server.in_flight[busiest]:,} "
        "batches in flight"
    )


def _quantiles(batches: Sequence[Followed], measure: Callable[[Followed], float]) -> str:
    values = [measure(each) for each in batches]
    return " / ".join(_span(quantile(values, share)) for share in (0.5, 0.95, 0.99))


def _span(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / HOUR:.1f} h"
