"""What every command shares: options that may stand anywhere, kinds of values, taught help."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import click

from polybatch.errors import InvalidRequest

_SPAN = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

PATH = click.Path(readable=False)
"""A file's name, as it comes: what is wrong with it is said when it is opened."""


def span(text: str) -> timedelta:
    """Reads a span of time."""
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None:
        raise click.BadParameter(f"{text!r} is no span such as 90s, 30m, 24h or 7d.")
    try:
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        raise click.BadParameter(f"{text!r} is too long.") from None


def pair(text: str) -> tuple[str, str]:
    """Reads a key and its value."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE.")
    return key, value


def usd(text: str) -> Decimal:
    """Reads an amount of USD."""
    return _amount(text, signed=False)


def signed_usd(text: str) -> Decimal:
    """Reads an amount of USD that may be below 0."""
    return _amount(text, signed=True)


def _amount(text: str, *, signed: bool) -> Decimal:
    # Here, as it loads protobuf.
    from polybatch.models.money import to_money

    try:
        amount = Decimal(text.strip().removeprefix("$"))
        to_money(amount, "amount", signed=signed)
    except (InvalidOperation, InvalidRequest):
        raise click.BadParameter(f"{text!r} is no amount of USD such as 5 or 0.25.") from None
    return amount


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise click.BadParameter(f"{text!r} is not a number of seconds from 0 on.")
    return seconds


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise click.BadParameter(f"{text!r} is not a number from 1 on.")
    return int(text)


batch_id = click.argument(
    "batch_id", metavar="BATCH_ID", help="Or a part that is clear, or `last`: the newest."
)
file_id = click.argument(
    "file_id", metavar="FILE_ID", help="Or a part that is clear, or `last`: the newest."
)
input_file = click.argument(
    "file",
    metavar="FILE",
    type=PATH,
    help="JSONL file of requests, compressed or not; - for stdin.",
)
limit = click.option("--limit", type=_positive, metavar="N", help="Show at most N.")


def defaults(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options for what a file's lines leave out."""
    model = click.option(
        "--model", metavar="NAME", help="Model of lines that may leave it out: Gemini's own form."
    )
    provider = click.option(
        "--provider",
        metavar="NAME",
        help="Provider of lines that name none and whose model tells none.",
    )
    return provider(model(command))


def output_file(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Returns the option -o with its help."""
    return click.option("-o", "--output", type=PATH, metavar="FILE", help=text)


def _everywhere(*names: str, **attributes: Any) -> click.Option:
    """An option that may stand before or after the command; kept in the session's options."""

    def keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value is not None:
            ctx.obj.options[param.name] = value

    return click.Option(names, default=None, expose_value=False, callback=keep, **attributes)


_EVERYWHERE: list[click.Option] = [
    _everywhere(
        "--json",
        is_flag=True,
        help="For scripts: one JSON document on stdout, one a line for listings and watches.",
    ),
    _everywhere("--gateway", metavar="HOST:PORT,...", help="Address of the gateway."),
    _everywhere("--collector", metavar="HOST:PORT,...", help="Address of the collector."),
    _everywhere(
        "--wait",
        type=_seconds,
        metavar="SECONDS",
        help="Seconds to wait for an unavailable service, then give up; 0: at once "
        "(120, or POLYBATCH_WAIT).",
    ),
    _everywhere("--api-key-file", type=PATH, metavar="FILE", help="File that holds the API key."),
    _everywhere(
        "--tls/--no-tls", help="Speak TLS; on by itself unless both addresses are this machine."
    ),
    _everywhere(
        "--tls-ca", type=PATH, metavar="FILE", help="Authority of the services' certificate."
    ),
    _everywhere(
        "--tls-client-cert", type=PATH, metavar="FILE", help="Your certificate (mutual TLS)."
    ),
    _everywhere("--tls-client-key", type=PATH, metavar="FILE", help="Its private key."),
]


class Command(click.Command):
    """A command with an example at the end of its help, and the options that stand everywhere."""

    def __init__(self, *args: Any, example: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params += _EVERYWHERE
        self._example = example

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands and the command's own options first."""
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)
        options = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        own = [option for option in options if option not in _EVERYWHERE]
        for title, group in (("Options", own), ("Connection and output", _EVERYWHERE)):
            records = [option.get_help_record(ctx) for option in group]
            with formatter.section(title):
                formatter.write_dl([record for record in records if record is not None])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The example, as it was written."""
        formatter.write_paragraph()
        lines = self._example.splitlines()
        if len(lines) == 1:
            lines = ["Example:", f"  {lines[0]}"]
        formatter.write("".join(f"{line}\n" for line in lines))


class Group(Command, click.Group):
    """A command that holds commands of the same kind."""

    command_class = Command
    group_class = type

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are needed."""
        return list(self.commands)
