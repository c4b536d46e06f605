"""The command about prices."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from polybatch.cli import grammar
from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.listing import Listing
from polybatch.cli.output import usd
from polybatch.cli.session import Session

if TYPE_CHECKING:
    from polybatch import Price

_RUN = {"batch": "batch", "real_time": "real time"}
_COLUMNS = {
    **{"MODEL": 40, "RUN": 9, "INPUT": -9, "CACHED": -9, "OUTPUT": -9},
    **{"PROMPT": 9, "SINCE": 10, "FROM": 0},
}
_FIRST = ("input", "cached_input", "cache_write_5m", "cache_write_1h", "output", "reasoning")
"""Of the kinds of rates; the others follow by name."""
_BY_THE_THOUSAND = "web_searches"


@click.command(cls=grammar.Command, example="polybatch prices openai/gpt-4.1")
@click.argument(
    "model",
    metavar="[MODEL]",
    required=False,
    default="",
    help="As in a line, or provider/model; all in short, if left out.",
)
@click.option(
    "--day",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="As of that day, UTC (today).",
)
@click.pass_obj
def prices(session: Session, *, model: str, day: datetime | None) -> ExitCode:
    """Show what models cost in USD a million tokens, where that comes from, and since when."""
    found = session.client.prices(model, day=day.date() if day else None)
    if session.json:
        for each in found:
            session.emit(each)
    elif model:
        for number, each in enumerate(found):
            if number:
                session.say("")
            session.tell_facts(_facts(each), 19)
    else:
        with Listing(_COLUMNS, "SINCE", "CACHED", "FROM") as listing:
            for each in found:
                for cells in _rows(each):
                    listing.add(*cells)
        session.note(f"USD a million tokens; {session.command('prices', 'MODEL')} shows all of one")
    return ExitCode.OK


def _rows(price: Price) -> list[tuple[str, ...]]:
    name, run = f"{price.provider}/{price.model}", _RUN.get(price.processing, price.processing)
    if price.unpriced:
        return [(name, run, "unpriced", "", "", "", "", price.unpriced)]
    since = next((each.since for each in price.origins if "input" in each.kinds), None)
    sources = ", ".join(dict.fromkeys(each.source for each in price.origins))
    return [
        (
            name,
            run,
            *(
                usd(band.per_million[kind]) if kind in band.per_million else ""
                for kind in ("input", "cached_input", "output")
            ),
            f">{band.above_prompt_tokens:,}" if band.above_prompt_tokens is not None else "",
            str(since or ""),
            sources,
        )
        for band in price.bands
    ]


def _facts(price: Price) -> list[tuple[str, str]]:
    facts = [
        ("model", f"{price.provider}/{price.model}"),
        ("run", f"{_RUN.get(price.processing, price.processing)}, on {price.day}"),
        ("unpriced", price.unpriced),
    ]
    for band in price.bands:
        if band.above_prompt_tokens is not None:
            facts.append(("longer prompts", f"of more than {band.above_prompt_tokens:,} tokens:"))
        for kind in sorted(band.per_million, key=_place):
            rate = band.per_million[kind]
            facts.append((kind, _rate(kind, rate)))
    if price.markup != 1:
        facts.append(("mark-up", f"times {price.markup}, in these rates already"))
    for origin in price.origins:
        since = f"since {origin.since}" if origin.since else ""
        whose = "at the real-time rate" if origin.processing != price.processing else ""
        parts = (", ".join(origin.kinds), whose, since, origin.where, origin.note)
        facts.append(("from", f"{origin.source}: {'; '.join(part for part in parts if part)}"))
    facts.append(("charged besides", ", ".join(price.not_reckoned)))
    return facts


def _place(kind: str) -> tuple[int, str]:
    return _FIRST.index(kind) if kind in _FIRST else len(_FIRST), kind


def _rate(kind: str, rate: Decimal) -> str:
    if kind == _BY_THE_THOUSAND:
        return f"{usd(rate / 1000)} USD a thousand"
    return f"{usd(rate)} USD a million tokens"
