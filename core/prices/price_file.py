"""Files of prices: prices.toml of an operator, and published.toml beside this module.

Both have [[price]] tables; docs/prices.md describes them. Numbers are read as decimals, never
as floats.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from core.prices.rates import KINDS, Processing, Steps, nano
from core.struct_types import prepared

_Name = Annotated[str, Meta(min_length=1)]
_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_UNKNOWN = re.compile(r"unknown field `(.*)`")
_HEADER = re.compile(r"\s*\[\[\s*price\s*\]\]")
_SEARCHES = 1_000
"""Web searches are priced by the thousand, as on the providers' pages; tokens by the million."""


class BadPricesFile(Exception):
    """A file of prices cannot be used. The message names the file, the line and the key."""


class Stated(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Rates as they are written: USD a million tokens; web_searches: USD a thousand."""

    input: Decimal | None = None
    cached_input: Decimal | None = None
    cache_write_5m: Decimal | None = None
    cache_write_1h: Decimal | None = None
    output: Decimal | None = None
    reasoning: Decimal | None = None
    audio_input: Decimal | None = None
    audio_output: Decimal | None = None
    image_input: Decimal | None = None
    image_output: Decimal | None = None
    cached_audio_input: Decimal | None = None
    cached_image_input: Decimal | None = None
    web_searches: Decimal | None = None

    def rates(self) -> dict[str, int]:
        """Nano-dollars a million, of the kinds that are stated."""
        stated = ((kind, getattr(self, kind)) for kind in KINDS)
        return {
            kind: nano(usd, _SEARCHES) if kind == "web_searches" else nano(usd)
            for kind, usd in stated
            if usd is not None
        }

    def __post_init__(self) -> None:
        for kind in KINDS:
            usd = getattr(self, kind)
            if usd is None:
                continue
            if not usd.is_finite() or not 0 <= usd <= 1_000_000:
                raise ValueError(f"{kind}: {usd} is no price: USD from 0 to 1,000,000")
            if usd.normalize().as_tuple().exponent < -9:
                raise ValueError(f"{kind}: {usd} has more than nine decimals")


class LongPrompts(Stated, kw_only=True):
    """Rates of prompts with more than so many tokens."""

    prompt_tokens: Annotated[int, Meta(ge=1)]


class Entry(Stated, kw_only=True):
    """One [[price]] table."""

    provider: _Name
    model: _Name = "*"
    """The provider's id of the model; * stands for any letters."""
    processing: Processing | None = None
    """None: both."""
    since: date | None = None
    until: date | None = None
    """The last day."""
    times: Decimal | None = None
    """Instead of rates: all published rates times this factor."""
    above: list[LongPrompts] = []
    source: str = ""
    note: str = ""
    line: Annotated[int, Meta(ge=0)] = 0
    """Of the file, where the table begins; 0: not known. Set by the reader."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.times is None and not self.rates() and not self.above:
            raise ValueError(
                "times: the table states neither a rate nor a factor for published ones"
            )
        if self.times is not None:
            if self.rates() or self.above:
                raise ValueError("times: a table states either rates or a factor, not both")
            if not self.times.is_finite() or not 0 < self.times <= 10:
                raise ValueError("times: a factor above 0, such as 0.85 for 15 per cent off")
        if self.since and self.until and self.until < self.since:
            raise ValueError(f"until: {self.until} is before the first day, {self.since}")
        for step in self.above:
            if missing := step.rates().keys() - self.rates().keys():
                raise ValueError(f"above: {min(missing)} needs a rate for shorter prompts, too")

    def card(self) -> dict[str, Steps]:
        """The rates, each by length of the prompt."""
        steps = sorted(self.above, key=lambda step: step.prompt_tokens)
        higher = [(step.prompt_tokens, step.rates()) for step in steps]
        return {
            kind: ((-1, rate), *((above, rates[kind]) for above, rates in higher if kind in rates))
            for kind, rate in self.rates().items()
        }

    def matches(self, provider: str, model: str, processing: Processing, day: date) -> bool:
        """Whether it is about a model on a day. Case does not matter in names of models."""
        return (
            self.provider == provider
            and self.processing in (None, processing)
            and (self.since or date.min) <= day <= (self.until or date.max)
            and fnmatchcase(model.lower(), self.model.lower())
        )

    def weight(self) -> tuple[bool, date, int]:
        """The entry with the greatest holds: a name before a pattern, then the latest `since`,
        then the last in the file."""
        return "*" not in self.model, self.since or date.min, self.line


class Markups(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Factors on what the provider charges."""

    default: Decimal = Decimal(1)
    accounts: dict[str, Any] = {}
    """Decimal or int; checked here, as msgspec does not tell which key of a dict is wrong."""

    def __post_init__(self) -> None:
        given = {f"accounts.{name}": factor for name, factor in self.accounts.items()}
        for name, factor in {"default": self.default, **given}.items():
            number = isinstance(factor, Decimal | int) and Decimal(factor).is_finite()
            if not number or not 1 <= factor <= 10:
                raise ValueError(
                    f"{name}: a mark-up is a factor from 1 to 10: 1.15 for 15 per cent on top. "
                    "For a discount use times in a [[price]] table"
                )


@prepared
class PriceFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A file of prices, checked."""

    price: list[Entry] = []
    like: dict[str, Any] = {}
    """Provider (as the providers file names it) to the one whose published prices it has."""
    markup: Markups = msgspec.field(default_factory=Markups)

    def __post_init__(self) -> None:
        for name, other in self.like.items():
            if not isinstance(other, str):
                raise ValueError(
                    f'like.{name}: {other} is no name of a provider, such as "mistral"'
                )

    def entry(self, provider: str, model: str, processing: Processing, day: date) -> Entry | None:
        """The table that holds for a model on a day."""
        found = [each for each in self.price if each.matches(provider, model, processing, day)]
        return max(found, key=Entry.weight, default=None)

    def models_of(self, provider: str) -> list[str]:
        """What its tables call the provider's models, patterns as they are written."""
        return sorted({each.model for each in self.price if each.provider == provider})

    def markup_of(self, account: str) -> Decimal:
        """The factor on an account's prices."""
        return Decimal(self.markup.accounts.get(account, self.markup.default))


def read_price_file(path: Path, *, required: bool) -> PriceFile:
    """Read and check a file. One that is not required may be missing. Raises BadPricesFile."""
    if not required and not path.exists():
        return PriceFile()
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadPricesFile(f"{path}: {error}") from None
    return parse_price_file(text, str(path))


def parse_price_file(text: str, name: str) -> PriceFile:
    """Check the text of a file; `name` is for messages. Raises BadPricesFile."""
    try:
        tree = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadPricesFile(_broken(text, name, error)) from None
    try:
        found = msgspec.convert(tree, PriceFile)
    except msgspec.ValidationError as error:
        path, problem = _fault(str(error))
        line = _line(text, path)
        key = ".".join(part for part in path if isinstance(part, str))
        raise BadPricesFile(f"{name}, line {line}, {key}: {problem}") from None
    headers = [n for n, line in enumerate(text.split("\n"), start=1) if _HEADER.match(line)]
    if len(headers) == len(found.price):
        for entry, number in zip(found.price, headers, strict=True):
            entry.line = number
    return found


def _broken(text: str, name: str, error: Exception) -> str:
    message = str(error)
    place = re.search(r" \(at line (\d+), column \d+\)$", message)
    lines = text.split("\n")
    number = int(place[1]) if place else len(lines)
    key = lines[number - 1].partition("=")[0].strip() or "the end of the file"
    return f"{name}, line {number}, {key}: {message.removesuffix(place[0]) if place else message}"


_Key = str | int


def _fault(message: str) -> tuple[tuple[_Key, ...], str]:
    """Where in the file and what is wrong, from msgspec's words."""
    place = _PLACE.search(message)
    problem = message.removesuffix(place[0]) if place else message
    path: list[_Key] = []
    for part in re.findall(r"[^.\[\]]+|\[[^\]]*\]", place[1] if place else ""):
        inner = part.strip("[]")
        path.append(int(inner) if inner.isdecimal() else inner)
    # Where the fault is in a table, the problem begins with its key or names it.
    if unknown := _UNKNOWN.search(problem):
        return (*path, unknown[1]), f"there is no such key. {_expected(path)}"
    named, colon, rest = problem.partition(": ")
    if colon and re.fullmatch(r"[\w.-]+", named):
        return (*path, *named.split(".", 1)), rest
    return tuple(path), problem.replace(" | null`", "`")


def _expected(path: list[_Key]) -> str:
    known: Mapping[_Key | None, type[msgspec.Struct]] = {
        None: PriceFile,
        "price": Entry,
        "above": LongPrompts,
        "markup": Markups,
    }
    table = next((part for part in reversed(path) if isinstance(part, str)), None)
    fields = known.get(table, PriceFile).__struct_fields__
    return f"Known are {', '.join(each for each in fields if each != 'line')}"


def _line(text: str, path: tuple[_Key, ...]) -> int:
    """The number of the line that a key stands in, or the table that lacks it."""
    lines = text.split("\n")

    def holds(count: int, wanted: tuple[_Key, ...]) -> bool:
        return _has(_upto(lines, count), wanted)

    while path and not holds(len(lines), path):
        path = path[:-1]
    return max(1, bisect_left(range(len(lines)), True, key=lambda n: holds(n, path)))


def _upto(lines: list[str], count: int) -> Mapping[str, Any]:
    """The longest beginning of the file, of so many lines at the most, that is whole."""
    while count:
        try:
            return tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            count -= 1
    return {}


def _has(tree: Any, path: tuple[_Key, ...]) -> bool:
    for key in path:
        if isinstance(tree, list):
            if not isinstance(key, int) or key >= len(tree):
                return False
        elif not isinstance(tree, dict) or key not in tree:
            return False
        tree = tree[key]
    return True
