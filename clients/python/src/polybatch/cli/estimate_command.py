"""What a batch will cost: the command, the line that `submit` tells, and its question."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from polybatch.cli import grammar
from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.ids import is_whole_file_id
from polybatch.cli.listing import Listing
from polybatch.cli.output import about_usd, counted
from polybatch.cli.session import (
    Interrupted,
    NotConfirmed,
    RefusedFile,
    Session,
    interruptible,
    opened_input,
)
from polybatch.errors import InvalidRequest, PolybatchError

if TYPE_CHECKING:
    from polybatch import BatchEstimate, CostRange, ModelEstimate

_COLUMNS = {
    **{"MODEL": 36, "RUN": 9, "LINES": -9, "PROMPT": -13, "OUTPUT": -13},
    **{"EXPECTED": -10, "AT MOST": -10, "REAL TIME": -10},
}
_RUN = {"batch": "batch", "real_time": "real time"}
_NOT_LIMITED = "no limit"
_UNKNOWN = "unknown"


@click.command(cls=grammar.Command, example="polybatch estimate requests.jsonl")
@click.argument(
    "file",
    metavar="FILE",
    type=grammar.PATH,
    help="JSONL file of requests, compressed or not; - for stdin; or the id of a stored file.",
)
@grammar.defaults
@click.option("--lenient", is_flag=True, help="Of a batch with --lenient, which takes more lines.")
@click.option(
    "--rescue-before",
    type=grammar.window,
    metavar="SPAN",
    help="Of a batch with --rescue-before: say what a rescue of all lines would add.",
)
@click.pass_obj
def estimate(
    session: Session,
    *,
    file: str,
    provider: str | None,
    model: str | None,
    lenient: bool,
    rescue_before: timedelta | None,
) -> ExitCode:
    """Say what a file will cost, in USD: as expected, and at the most. Nothing is run."""
    if is_whole_file_id(file):
        _show(session, session.client.estimate(file, lenient=lenient), rescue=bool(rescue_before))
        return ExitCode.OK
    with opened_input(file) as (content, name), interruptible("stopped; nothing was run."):
        stored = session.client.upload(
            content,
            filename=name,
            provider=provider,
            model=model,
            progress=lambda sent, total: session.display.upload(name, sent, total),
        )
        session.display.settle()
        with deleting(session, stored.id):
            found = session.client.estimate(stored, lenient=lenient)
        _show(session, found, rescue=bool(rescue_before))
    bad = stored.invalid_line_count - (stored.lenient_line_count if lenient else 0)
    if bad:
        validate = session.command("validate", file)
        session.note(f"{name}: {counted(bad, 'line')} cannot be sent: {validate} says why")
    return ExitCode.BAD_INPUT if bad else ExitCode.OK


@contextmanager
def deleting(session: Session, file_id: str) -> Iterator[None]:
    """Deletes an uploaded file at the end of the block, however that comes."""
    try:
        yield
    except InvalidRequest as error:
        session.client.files.delete(file_id)
        raise RefusedFile(error, ()) from error
    except BaseException:
        # Whoever pressed Ctrl-C, or has waited in vain, waits no longer.
        with suppress(PolybatchError), session.hasty_client() as hasty:
            hasty.files.delete(file_id)
        raise
    session.client.files.delete(file_id)


def in_one_line(found: BatchEstimate) -> str:
    """What a batch will cost, in a line."""
    total = found.total
    if total.expected is None:
        first, *others = found.unpriced_models
        which = f"and {len(others)} more have" if others else "has"
        return f"cost: not known, as {_called(first)} {which} no price"
    parts = [f"cost: about {about_usd(total.expected)} USD"]
    if total.at_most is None:
        parts.append(f"not limited by {counted(found.unlimited_line_count, 'line')}")
    else:
        parts.append(f"at most {about_usd(total.at_most)}")
    if total.real_time_expected not in (None, total.expected):
        parts.append(f"in real time about {about_usd(total.real_time_expected)}")
    return ", ".join(parts)


def _called(each: ModelEstimate) -> str:
    """What a model is called, as files name it: mostly with its provider before it already."""
    named = each.model.startswith(f"{each.provider}/")
    return each.model if named else f"{each.provider}/{each.model}"


def rescue_in_one_line(found: BatchEstimate) -> str:
    """What a rescue of all lines would add, in a line."""
    lines = sum(each.line_count for each in found.models if each.rescuable)
    if not lines:
        return "rescue: no line can be called by itself: what is not answered in time expires"
    beside = found.line_count - lines
    rest = f"; {counted(beside, 'line')} cannot be rescued, or need no rescue" if beside else ""
    if found.rescue_expected is None:
        return f"rescue: what it would add is not known{rest}"
    most = ""
    if found.rescue_at_most is not None:
        most = f", at most {about_usd(found.rescue_at_most)}"
    return (
        f"rescue: calling {counted(lines, 'line')} one by one would add about "
        f"{about_usd(found.rescue_expected)} USD{most}{rest}"
    )


class Confirmation:
    """Told by `submit` before the batch is made: shows the estimate, and asks where it has to."""

    def __init__(
        self,
        session: Session,
        file: str,
        above: Decimal | None,
        *,
        yes: bool,
        keep_file: bool,
        rescue: bool = False,
    ) -> None:
        """`file`: as it was given. `above`: the USD from which on it asks; None: never.

        `keep_file`: whether the uploaded file stays where no batch is made. `rescue`: lines may
        come to be called one by one.
        """
        self._session = session
        self._above = above
        self._yes = yes
        self._keep_file = keep_file
        self._rescue = rescue
        self._asks = file != "-" and sys.stdin.isatty() and sys.stderr.isatty()

    def __call__(self, found: BatchEstimate) -> None:
        """Raises NotConfirmed where no batch is to be made."""
        self._session.display.settle()
        self._session.note(in_one_line(found))
        if self._rescue:
            self._session.note(rescue_in_one_line(found))
        expected = found.total.expected
        if self._above is None or self._yes or (expected is not None and expected <= self._above):
            return
        if self._asks and not self._session.json:
            if not self._confirmed(found):
                raise NotConfirmed("no batch was made.", kept=self._discard(found))
            return
        costs = (
            "its cost is not known"
            if expected is None
            else f"it may cost about {about_usd(expected)} USD"
        )
        raise NotConfirmed(
            f"no batch was made: {costs}, and --confirm-above is {self._above.normalize():f} USD.",
            "to run it without a question: --yes, or a higher --confirm-above",
            kept=self._discard(found),
        )

    def _confirmed(self, found: BatchEstimate) -> bool:
        try:
            print("Run it? [y/N] ", end="", file=sys.stderr, flush=True)
            answer = sys.stdin.readline()
        except KeyboardInterrupt:
            kept = self._discard(found)
            advice = [f"the file is kept as {kept}"] if kept else []
            raise Interrupted("no batch was made.", *advice) from None
        if not answer.endswith("\n"):
            print(file=sys.stderr)
        return answer.strip().lower() in ("y", "yes")

    def _discard(self, found: BatchEstimate) -> str:
        """Deletes the uploaded file; returns its id where it stays."""
        if not self._keep_file:
            # Whoever was asked waits no longer than it takes to try.
            with suppress(PolybatchError), self._session.hasty_client() as hasty:
                hasty.files.delete(found.input_file_id)
                return ""
        return found.input_file_id


def _show(session: Session, found: BatchEstimate, *, rescue: bool) -> None:
    if session.json:
        session.emit(found)
        return
    with Listing(_COLUMNS, "RUN", "PROMPT", "OUTPUT", "REAL TIME") as listing:
        for each in found.models:
            name = _called(each)
            run = _RUN.get(each.processing, str(each.processing))
            limited = not each.unlimited_line_count
            listing.add(name, run, *_cells(each.line_count, each.range, limited=limited))
        if len(found.models) > 1:
            limited = not found.unlimited_line_count
            listing.add("all", "", *_cells(found.line_count, found.total, limited=limited))
    for basis in dict.fromkeys(each.basis for each in found.models):
        who = [each.model for each in found.models if each.basis == basis]
        names = "" if len(who) == len(found.models) else f"{', '.join(who)}: "
        session.note(f"{names}{basis}")
    if rescue:
        session.note(rescue_in_one_line(found))
    session.note("at most: a token for each byte, and each answer as long as it may be")
    for each in found.unpriced_models:
        session.note(each.unpriced)
    if found.unlimited_line_count:
        session.note(
            f"{counted(found.unlimited_line_count, 'line')} without a limit: set max_tokens in "
            "it, or what its API calls so, and name no documents or searches of the provider's"
        )


def _cells(lines: int, range_: CostRange, *, limited: bool) -> tuple[str, ...]:
    at_most = _NOT_LIMITED if range_.expected is not None and not limited else _UNKNOWN
    return (
        f"{lines:,}",
        f"{range_.prompt_tokens_expected:,}",
        f"{range_.output_tokens_expected:,}",
        _UNKNOWN if range_.expected is None else about_usd(range_.expected),
        at_most if range_.at_most is None else about_usd(range_.at_most),
        "" if range_.real_time_expected is None else about_usd(range_.real_time_expected),
    )
