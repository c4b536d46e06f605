"""What validation has found, equal problems told once."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from polybatch.cli.output import counted, printable, to_json
from polybatch.cli.session import Session
from polybatch.errors import PolybatchError

if TYPE_CHECKING:
    from polybatch import LineProblem

_MOST_GROUPS = 1000
"""Kinds told apart, so that a report of any length takes little memory."""
_SHOWN_LINES = 5
_SHOWN_GROUPS = 20
_READ_FOR_WARNINGS = 10_000
"""Problems that a submit looks through for warnings; a validation reads all."""

_INDEX = re.compile(r"\[\d+\]")
_PLACE = re.compile(r"\b(line|byte|column|character|position) \d+")


@dataclass(slots=True)
class _Group:
    first: LineProblem
    place: str
    """The field, indices left out where they differ."""
    numbers: list[int] = field(default_factory=list)
    count: int = 0
    last: int = -1
    varied: bool = False
    """Messages differ: there were too many kinds."""

    def add(self, problem: LineProblem) -> None:
        if problem.field != self.first.field:
            self.place = _INDEX.sub("[*]", problem.field)
        if problem.line == self.last:
            return
        self.last = problem.line
        self.count += 1
        if len(self.numbers) < _SHOWN_LINES:
            self.numbers.append(problem.line)


class ProblemGroups:
    """Problems of one file in line order, grouped: same severity, field, reason and message.

    Indices within a field and places within a message may differ.
    """

    def __init__(self, problems: Iterable[LineProblem] = ()) -> None:
        self._groups: dict[tuple[str, ...], _Group] = {}
        for problem in problems:
            self.add(problem)

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, problem: LineProblem) -> None:
        """One more."""
        place = _INDEX.sub("[*]", problem.field)
        words = _PLACE.sub(r"\1 #", problem.message)
        key: tuple[str, ...] = (problem.severity, problem.reason, place, words)
        if key not in self._groups and len(self._groups) >= _MOST_GROUPS:
            key = (problem.severity, problem.reason)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(problem, problem.field, varied=len(key) == 2)
        group.add(problem)

    def lines(self, name: str, line_count: int) -> Iterator[str]:
        """Yields a line of text for each group; `line_count`: lines of the file, 0 if not known."""
        for group in self._groups.values():
            if group.count == 1:
                yield problem_line(name, group.first)
                continue
            if group.count == line_count:
                where = f"all {line_count:,} lines"
            else:
                shown = ", ".join(map(str, group.numbers))
                more = ", ..." if group.count > len(group.numbers) else ""
                where = f"{counted(group.count, 'line')} ({shown}{more})"
            parts = [name, group.first.severity, where, *([group.place] if group.place else ())]
            varied = "; others of this kind alike" if group.varied else ""
            text = f"{group.first.message}{varied} ({group.first.reason})"
            yield printable(f"{': '.join(parts)}: {text}").rstrip()


def problem_line(name: str, problem: LineProblem) -> str:
    """Returns one problem as compilers say it."""
    parts = [f"{name}:{problem.line}" if problem.line else name, problem.severity]
    if problem.custom_id:
        parts.append(problem.custom_id)
    if problem.field:
        parts.append(problem.field)
    return printable(f"{': '.join(parts)}: {problem.message} ({problem.reason})").rstrip()


def tell_warnings(session: Session, name: str, every: str, file_id: str, line_count: int) -> None:
    """Notes the warnings that a file was taken with; `every`: the command that shows all.

    Scripts that asked for JSON get each as a line {"warning": ...} on stderr.
    """
    try:
        report = session.client.files.validation_report(file_id)
        read = list(islice(report, _READ_FOR_WARNINGS + 1))
    except PolybatchError as error:
        # The batch runs all the same, and is what was asked for.
        session.note(f"whether there are warnings is not known: {error.message}")
        return
    warnings = [problem for problem in read if problem.severity == "warning"]
    if session.json:
        for warning in warnings:
            print(to_json({"warning": warning}), file=sys.stderr)
        return
    groups = ProblemGroups(warnings)
    for line in islice(groups.lines(name, line_count), _SHOWN_GROUPS):
        session.note(line)
    if len(groups) > _SHOWN_GROUPS or len(read) > _READ_FOR_WARNINGS:
        session.note(f"there may be more: {every}")


def told_errors(
    session: Session, name: str, file_id: str, line_count: int, *, lenient: bool
) -> list[str]:
    """Returns lines of text for all that a batch of this file was refused for."""
    groups = ProblemGroups(
        problem
        for problem in session.client.files.validation_report(file_id)
        if problem.severity == "error" and not (lenient and problem.lenient)
    )
    lines = list(islice(groups.lines(name, line_count), _SHOWN_GROUPS))
    if len(groups) > _SHOWN_GROUPS:
        rest = len(groups) - _SHOWN_GROUPS
        lines.append(f"and {counted(rest, 'more kind')}")
    return lines
