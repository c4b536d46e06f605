"""The command about usage."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

import polybatch
from polybatch.cli import grammar
from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.listing import Listing
from polybatch.cli.output import usd
from polybatch.cli.session import Session, UnusableInput

if TYPE_CHECKING:
    from polybatch import UsageEntry, UsageGroup

_Cell = Callable[["UsageEntry"], str]

_GROUPS: dict[str, dict[str, tuple[int, _Cell]]] = {
    "day": {"DAY": (10, lambda entry: str(entry.day or ""))},
    "month": {"MONTH": (7, lambda entry: entry.month)},
    "account": {
        "ACCOUNT_ID": (25, lambda entry: entry.account_id),
        "ACCOUNT": (16, lambda entry: entry.account_name),
    },
    "key": {
        "KEY_ID": (24, lambda entry: entry.key_id),
        "KEY": (16, lambda entry: entry.key_name),
    },
    "provider": {"PROVIDER": (12, lambda entry: entry.provider)},
    "model": {"MODEL": (32, lambda entry: entry.model)},
    "batch": {"BATCH": (26, lambda entry: entry.batch_id)},
}
_COUNTS = ("LINES", "UNPRICED", "INPUT", "CACHED", "OUTPUT")
_CSV = (
    *("lines", "unpriced_lines", "input_tokens", "cached_input_tokens", "cache_write_tokens"),
    *("output_tokens", "reasoning_tokens", "cost_usd", "late_cost_usd"),
)


def _groups(text: str) -> list[UsageGroup]:
    names = [name.strip().lower() for name in text.split(",")]
    if unknown := [name for name in names if name not in _GROUPS]:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(_GROUPS)}.")
    return [polybatch.UsageGroup(name) for name in dict.fromkeys(names)]


_day: Any = click.DateTime(["%Y-%m-%d"])


@click.command(
    cls=grammar.Command,
    example="""\
Examples:
  polybatch usage                                    this month, by days
  polybatch usage --by key,model --from 2026-11-01
  polybatch usage --by month,batch --csv > usage.csv

A row is of the day (UTC) on which answers came home: days and months that have passed change no
more. With a key of the scope "batch" it is what that key has made itself.
""",
)
@click.option(
    "--from", "first", type=_day, metavar="YYYY-MM-DD", help="First day (the 1st of this month)."
)
@click.option("--to", "last", type=_day, metavar="YYYY-MM-DD", help="Last day (today).")
@click.option(
    "--by",
    type=_groups,
    default="day",
    metavar="GROUP,...",
    help="Of day, month, key, provider, model, batch, account (day).",
)
@click.option("--csv", "as_csv", is_flag=True, help="Write CSV, with exact amounts.")
@click.option(
    "--account", default="", metavar="ACCOUNT", help="Id or name, or '*' for all (operators)."
)
@click.pass_obj
def usage(
    session: Session,
    *,
    first: datetime | None,
    last: datetime | None,
    by: list[UsageGroup],
    as_csv: bool,
    account: str,
) -> ExitCode:
    """Show what was used and what it cost, by day, key, model and more."""
    if as_csv and session.json:
        raise UnusableInput("--csv and --json are two forms: choose one.")
    entries = session.client.usage.list(
        _date(first),
        _date(last),
        by=by,
        account=account or ("*" if session.operator else ""),
        page_size=2000,
    )
    if session.json:
        for entry in entries:
            session.emit(entry)
    elif as_csv:
        _write_csv(by, entries)
    else:
        _show(by, entries)
    return ExitCode.OK


def _date(moment: datetime | None) -> date | None:
    return moment.date() if moment else None


def _columns(by: Sequence[UsageGroup]) -> dict[str, tuple[int, _Cell]]:
    return {name: column for group in by for name, column in _GROUPS[group].items()}


def _show(by: Sequence[UsageGroup], entries: Iterator[UsageEntry]) -> None:
    groups = _columns(by)
    widths = {name: width for name, (width, _) in groups.items()}
    widths |= dict.fromkeys(_COUNTS, -12) | {"USD": -16}
    counts, cost = [0] * len(_COUNTS), Decimal(0)
    with Listing(widths, "CACHED", "UNPRICED", "INPUT", "OUTPUT") as listing:
        for entry in entries:
            numbers = (
                *(entry.line_count, entry.unpriced_line_count, entry.usage.input_tokens),
                *(entry.usage.cached_input_tokens, entry.usage.output_tokens),
            )
            counts = [sum(pair) for pair in zip(counts, numbers, strict=True)]
            cost += entry.cost
            listing.add(
                *(cell(entry) for _, cell in groups.values()),
                *(f"{number:,}" for number in numbers),
                usd(entry.cost),
            )
        blank = [""] * (len(groups) - 1)
        listing.add("total", *blank, *(f"{number:,}" for number in counts), usd(cost))


def _write_csv(by: Sequence[UsageGroup], entries: Iterator[UsageEntry]) -> None:
    groups = _columns(by)
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow([*(name.lower() for name in groups), *_CSV])
    for entry in entries:
        tokens = entry.usage
        out.writerow(
            [
                *(cell(entry) for _, cell in groups.values()),
                *(entry.line_count, entry.unpriced_line_count, tokens.input_tokens),
                *(tokens.cached_input_tokens, tokens.cache_write_tokens),
                *(tokens.output_tokens, tokens.reasoning_tokens),
                *(f"{entry.cost:f}", f"{entry.late_cost:f}"),
            ]
        )
