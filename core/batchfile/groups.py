"""The groups of a file while it is scanned: the lines for one model of one provider."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from core.batchfile.fast_path import PlainDecoder
from core.batchfile.index import INVALID, MAX_GROUPS, NO_GROUP, Group
from core.batchfile.rules import Check, Finding, Rules
from core.batchfile.schema import Line, decode_request
from core.batchfile.verdict import Verdict, path_in


class Groups:
    """Their names, counts and checks, by number.

    Only what is valid for the file's endpoint is one: there is none until that is known.
    """

    def __init__(self, rules: Rules, plain: PlainDecoder) -> None:
        self._rules = rules
        self._plain = plain
        self.number_of: dict[tuple[str | None, str], int] = {}
        """By provider and model, as lines name them."""
        self.names: list[tuple[str, str]] = []
        self.lines: list[int] = []
        self.bytes: list[int] = []
        self.lenient: list[int] = []
        self.checks: dict[int, Check] = {}
        """Of those whose provider has one."""

    def place(self, verdict: Verdict) -> int:
        """The group of a line; a new one may turn out to be one too many, or not to be had."""
        named = (verdict.provider, verdict.model)
        if named not in self.number_of:
            if len(self.names) == MAX_GROUPS:
                verdict.error(
                    path_in(verdict.kind, "body.model"),
                    "too_many_models",
                    f"the file names more than {MAX_GROUPS} models; expected fewer",
                )
                return NO_GROUP
            for finding in self._rules.check_model(verdict.provider, verdict.url, verdict.model):
                verdict.find(finding)
            if verdict.flags & INVALID:
                return NO_GROUP
            self._add(*named)
        group = self.number_of[named]
        self.number_of[verdict.stated_provider, verdict.stated_model] = group
        return group

    def _add(self, provider: str, model: str) -> None:
        number = len(self.names)
        self.number_of[provider, model] = number
        self.names.append((provider, model))
        self.lines.append(0)
        self.bytes.append(0)
        self.lenient.append(0)
        if provider in self._rules.checks:
            self.checks[number] = self._rules.checks[provider]

    def count(self, group: int, size: int) -> None:
        """Count a line that every batch takes."""
        self.lines[group] += 1
        self.bytes[group] += size

    def findings(self, raw: bytes, group: int, found: Line) -> Iterable[Finding]:
        """What a provider's own check finds in a line that is valid otherwise."""
        provider, model = self.names[group]
        if found.whole and provider in self._plain.ways:
            findings = self._plain.ways[provider].check(found.body)
            if findings is not None:
                return findings
        return self.checks[group](found.url, model, decode_request(raw).body)

    def fits(self, group: int) -> Callable[[Any], bool] | None:
        """What tells of messages whether the check finds the same beside others that it fits.

        None where nothing is surely the same.
        """
        if group not in self.checks:
            return _always
        way = self._plain.ways.get(self.names[group][0])
        return None if way is None else way.fits

    def summed_up(self) -> list[Group]:
        """All of them, with their counts."""
        counts = zip(self.names, self.lines, self.bytes, self.lenient, strict=True)
        return [Group(provider, model, *each) for (provider, model), *each in counts]


def _always(_messages: Any) -> bool:
    return True
