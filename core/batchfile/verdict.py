"""What one line turned out to be, and the words for what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

import msgspec
from msgspec import UNSET, Raw, UnsetType

from core.batchfile.index import INVALID, LENIENT
from core.batchfile.problems import Problem
from core.batchfile.rules import Finding
from core.batchfile.schema import NAMES, Kind

QUOTED = 80
"""Characters of the user's own that a message repeats."""
_TYPES = {
    ord("{"): "an object",
    ord("["): "an array",
    ord('"'): "a string",
    ord("t"): "true",
    ord("f"): "false",
    ord("n"): "null",
}

_text = msgspec.json.Decoder(str)


@dataclass(slots=True)
class Verdict:
    """What one line turned out to be. Texts are empty where they cannot be told."""

    line: int
    custom_id: str = ""
    kind: Kind = Kind.OPENAI
    stated_provider: str | None = None
    """As the line has it."""
    provider: str = ""
    model: str = ""
    stated_model: str = ""
    """As the line has it; empty where it has none and need not."""
    url: str = ""
    problems: list[Problem] = field(default_factory=list)
    id_is_whole: bool = True
    """False where `custom_id` is only the start of one that is too long."""

    @property
    def flags(self) -> int:
        """Those of the line's index record."""
        errors = [problem for problem in self.problems if problem.severity == "error"]
        if not errors:
            return 0
        return LENIENT if all(problem.lenient for problem in errors) else INVALID

    def find(self, finding: Finding) -> None:
        """Add what a provider's own check says of the line."""
        path = path_in(self.kind, finding.field)
        self.problems.append(Problem(self.line, self.custom_id, path, *finding[1:]))

    def error(self, field: str, reason: str, message: str) -> None:
        self.problems.append(Problem(self.line, self.custom_id, field, reason, message))

    def warning(self, field: str, reason: str, message: str) -> None:
        self.problems.append(Problem(self.line, self.custom_id, field, reason, message, "warning"))


def path_in(kind: Kind, path: str) -> str:
    """A path below "body", as a line of this kind names it."""
    if kind is Kind.OPENAI or not path.startswith("body"):
        return path
    return NAMES[kind].body + path.removeprefix("body")


def string(raw: Raw | UnsetType, path: str, verdict: Verdict) -> str | None:
    """The field as a string that is not empty; None with a problem otherwise."""
    if not is_there(raw):
        verdict.error(path, "missing_field", f"{path} is missing; expected a string")
        return None
    try:
        found = _text.decode(raw)
    except msgspec.ValidationError:
        verdict.error(path, "wrong_type", f"{path} is {json_type(raw)}; expected a string")
        return None
    except (msgspec.DecodeError, UnicodeDecodeError):
        verdict.error(path, "wrong_type", f"{path} is not text; expected a string")
        return None
    if not found:
        verdict.error(path, "empty_field", f"{path} is empty; expected a string")
        return None
    return found


def is_there(raw: Raw | UnsetType) -> TypeGuard[Raw]:
    """Whether a line or a body has a member."""
    return raw is not UNSET


def json_type(raw: Raw | bytes) -> str:
    """What a value is, by its first byte."""
    return _TYPES.get(memoryview(raw)[0], "a number")


def quote(text: str) -> str:
    """A text of the user's own, in quotation marks, cut to QUOTED characters."""
    shown = text if len(text) <= QUOTED else text[:QUOTED] + "…"
    return f'"{shown}"'


def slugs(providers: Mapping[str, object] | Iterable[str]) -> str:
    """Names of providers, of which one is expected."""
    return " or ".join(quote(slug) for slug in sorted(providers))
