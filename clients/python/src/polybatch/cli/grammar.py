"""What every command shares: options that may stand anywhere, kinds of values, taught help."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from polybatch import BatchPriority

_SPAN = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

# The ranges of CreateBatchRequest in batches.proto: what is outside of them is said before a
# byte is sent.
_WINDOWS = (timedelta(seconds=1), timedelta(days=7))
_RETENTIONS = (timedelta(hours=1), timedelta(days=30))
USUAL_WINDOW = timedelta(hours=24)
_MAX_REQUEST_ID_BYTES = 128
_LONGEST_AGE = timedelta(days=30)
_TOO_MUCH = 10**9
_MOST_CANARY_LINES = 10_000
_MAX_PAIRS = 16
_MAX_KEY = 64
_MAX_VALUE = 512

PATH = click.Path(readable=False)
"""A file's name, as it comes: what is wrong with it is said when it is opened."""


def window(text: str) -> timedelta:
    """Reads a completion window."""
    return _span(text, _WINDOWS, "1s to 7d")


def _span(text: str, limits: tuple[timedelta, timedelta], shown: str) -> timedelta:
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None:
        raise click.BadParameter(f"{text!r} is no span such as 90s, 30m, 24h or 7d.")
    wanted = _timedelta(match)
    shortest, longest = limits
    if not shortest <= wanted <= longest:
        raise click.BadParameter(f"{text!r} is out of range: from {shown}.")
    return wanted


def span(text: str) -> timedelta:
    """Reads an age of 30 days at most; 0 is one as well."""
    written = text.strip().lower()
    match = _SPAN.fullmatch("0s" if written == "0" else written)
    if match is None or (age := _timedelta(match)) > _LONGEST_AGE:
        raise click.BadParameter(f"{text!r} is no age such as 12h or 7d, of 30d at most, or 0.")
    return age


def _timedelta(match: re.Match[str]) -> timedelta:
    try:
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        return timedelta.max


def retention(text: str) -> timedelta:
    """Reads how long something is kept."""
    return _span(text, _RETENTIONS, "1h to 30d")


def word(text: str) -> str:
    """Reads a word: an empty one, as of a variable that is not set, is not taken for none."""
    if not text:
        raise click.BadParameter("it is empty: give one, or leave the option out.")
    return text


def request_id(text: str) -> str:
    """Reads an idempotency key."""
    word(text)
    if (size := len(text.encode(errors="surrogateescape"))) > _MAX_REQUEST_ID_BYTES:
        raise click.BadParameter(f"it has {size} bytes: at most {_MAX_REQUEST_ID_BYTES}.")
    return text


def pair(text: str) -> tuple[str, str]:
    """Reads a key and its value."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE.")
    if len(key) > _MAX_KEY:
        raise click.BadParameter(f"a key of {len(key)} characters: at most {_MAX_KEY}.")
    if len(value) > _MAX_VALUE:
        raise click.BadParameter(
            f"the value of {key!r} has {len(value)} characters: at most {_MAX_VALUE}."
        )
    return key, value


def usd(text: str) -> Decimal:
    """Reads an amount of USD from 0 on."""
    return _usd(text, signed=False)


def signed_usd(text: str) -> Decimal:
    """Reads an amount of USD that may be below 0."""
    return _usd(text, signed=True)


def _usd(text: str, *, signed: bool) -> Decimal:
    # As models.money.to_money, which would load the stubs for each line that is typed.
    try:
        amount = Decimal(text.strip().removeprefix("$"))
        fits = abs(amount) < _TOO_MUCH and amount == round(amount, 9) and (signed or amount >= 0)
    except InvalidOperation:
        fits = False
    if not fits:
        raise click.BadParameter(
            f"{text!r} is no amount of USD such as 5 or 12.50 (nine decimals at most)."
        )
    return amount


def metadata(
    _context: click.Context, _parameter: click.Parameter, pairs: tuple[tuple[str, str], ...]
) -> dict[str, str]:
    """Takes all pairs together, each key once."""
    if len(pairs) > _MAX_PAIRS:
        raise click.BadParameter(f"{len(pairs)} pairs: at most {_MAX_PAIRS}.")
    noted = dict(pairs)
    if len(noted) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise click.BadParameter(f"{twice!r} is given twice.")
    return noted


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


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise click.BadParameter(f"{text!r} is no share from 0 to 1, such as 0.1 for one in ten.")
    return share


def _canary_lines(text: str) -> int:
    if not text.isdecimal() or int(text) > _MOST_CANARY_LINES:
        raise click.BadParameter(f"{text!r} is not a number from 0 to {_MOST_CANARY_LINES:,}.")
    return int(text)


def _priority(_context: click.Context, _parameter: click.Parameter, word: str) -> BatchPriority:
    # Not before it is needed: it loads the stubs.
    from polybatch.models.steering import BatchPriority

    return BatchPriority(word)


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
        "--model",
        type=word,
        metavar="NAME",
        help="Model of lines that may leave it out: Gemini's own form.",
    )
    provider = click.option(
        "--provider",
        type=word,
        metavar="NAME",
        help="Provider of lines that name none and whose model tells none.",
    )
    return provider(model(command))


def steering(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options for what is sent of a batch, and when."""
    options = (
        click.option(
            "--priority",
            type=click.Choice(("low", "normal", "high")),
            default="normal",
            callback=_priority,
            help="Which of the account's batches go first (normal).",
        ),
        click.option(
            "--canary",
            "canary_lines",
            type=_canary_lines,
            default="0",
            metavar="N",
            help="Send N lines of each model first, spread over the file; the others only if few "
            "of them failed.",
        ),
        click.option(
            "--canary-max-failure-rate",
            type=_share,
            metavar="SHARE",
            help="So many of --canary's lines of a model may fail (0.1: one in ten).",
        ),
        click.option(
            "--max-failure-rate",
            type=_share,
            metavar="SHARE",
            help="Send nothing more once a larger share of the lines has failed, of 20 at least.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def output_file(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Returns the option -o with its help."""
    return click.option("-o", "--output", type=PATH, metavar="FILE", help=text)


def _everywhere(*names: str, **attributes: Any) -> click.Option:
    """An option that may stand before or after the command; kept in the session's options."""

    def keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value is not None:
            ctx.obj.options[param.name] = value

    return click.Option(names, default=None, expose_value=False, callback=keep, **attributes)


EVERYWHERE: list[click.Option] = [
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

    def __init__(
        self, *args: Any, example: str, admin_example: str = "", **attributes: Any
    ) -> None:
        """`admin_example`: where it is called below `admin` and needs other words there."""
        super().__init__(*args, **attributes)
        self.params += EVERYWHERE
        self.example = example
        self._admin_example = admin_example

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """The same in any context: Click keeps the option that it made first."""
        return ["-h", "--help"]

    def example_in(self, ctx: click.Context) -> str:
        """The example where the command is called in this context.

        Some stand below `admin` as well as at the top, where their examples are from.
        """
        names = ctx.command_path.removeprefix(ctx.find_root().command_path).split()
        here = f"polybatch {names[0]} " if names else ""
        if here in self.example:
            return self.example
        return self._admin_example or self.example.replace("polybatch ", here)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands and the command's own options first."""
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)
        options = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        own = [option for option in options if option not in EVERYWHERE]
        for title, group in (("Options", own), ("Connection and output", EVERYWHERE)):
            records = [option.get_help_record(ctx) for option in group]
            with formatter.section(title):
                formatter.write_dl([record for record in records if record is not None])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The example, as it was written."""
        formatter.write_paragraph()
        lines = self.example_in(ctx).splitlines()
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
