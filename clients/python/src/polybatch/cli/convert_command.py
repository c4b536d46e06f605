"""The command that brings files of requests into another form."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from polybatch.cli import grammar
from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.output import printable, to_json
from polybatch.cli.session import (
    Session,
    UnusableInput,
    interruptible,
    opened_input,
    tried_output,
)

if TYPE_CHECKING:
    from polybatch import LineProblem
    from polybatch._convert import Content, Record

_GROUP_BYTES = 1024 * 1024
_GROUP_LINES = 1000
_SHOWN = 20
_READ_ONLY = frozenset({".parquet", ".zip"})

_EXAMPLE = """\
Examples:
  polybatch convert requests.jsonl.zst -o requests.jsonl
  polybatch convert table.csv --model gpt-4.1-mini --prompt 'Summarise: {text}' -o lines.jsonl
  polybatch convert batch.jsonl --to anthropic --model claude-sonnet-4-6 -o claude.jsonl
"""


@click.command(cls=grammar.Command, example=_EXAMPLE)
@click.argument("file", metavar="FILE", type=grammar.PATH, help="What to convert; - for stdin.")
@click.option(
    "-o",
    "--output",
    default="-",
    type=grammar.PATH,
    metavar="FILE",
    help="Write it there, whole or not at all (stdout). Its ending says how: .jsonl, .json (an "
    "array), .csv or .tsv; .gz, .zst, .bz2 or .xz behind it compresses.",
)
@click.option(
    "--to",
    type=click.Choice(["openai", "anthropic", "gemini"]),
    help="Whose form the lines are to have (the one that they have).",
)
@click.option(
    "--model", type=grammar.word, metavar="MODEL", help="Model of all lines, instead of their own."
)
@click.option(
    "--provider",
    type=grammar.word,
    metavar="NAME",
    help="Provider of all lines in OpenAI's form.",
)
@click.option(
    "--prompt",
    metavar="TEXT",
    help="Of a table: what to ask of each row, with names of columns: 'Summarise: {text}'.",
)
@click.option("--system", metavar="TEXT", help="Likewise, for a system message.")
@click.option(
    "--id-column",
    metavar="COLUMN",
    help="Column with each row's custom_id (custom_id; without it rows are numbered).",
)
@click.option(
    "--max-tokens", type=click.IntRange(min=1), metavar="N", help="Limit of each row's answer."
)
@click.option("--embeddings", is_flag=True, help="Embed the prompts of a table.")
@click.option("--encoding", metavar="NAME", help="Of text that is not UTF-8, such as cp1252.")
@click.option("--lenient", is_flag=True, help="Leave out what has no equivalent, and tell what.")
@click.option("--skip-invalid", is_flag=True, help="Leave out lines that cannot be converted.")
@click.pass_obj
def convert(
    session: Session,
    /,
    *,
    file: str,
    output: str,
    to: Any,
    model: str | None,
    provider: str | None,
    encoding: str | None,
    lenient: bool,
    skip_invalid: bool,
    **template: Any,
) -> ExitCode:
    """Bring a file of requests into another form, as far as nothing is lost.

    From: JSON lines in OpenAI's, Anthropic's or Gemini's form, a JSON array, also under
    "requests" as in the body of Anthropic's API, pretty-printed JSON, CSV and Parquet; in UTF-8
    or UTF-16, compressed or not.
    """
    from polybatch._convert import Template, open_content, open_output

    tried_output(output, file)
    if Path(output).suffix.lower() in _READ_ONLY:
        raise UnusableInput(
            f"{output}: {Path(output).suffix} is read, not written; name one that ends with "
            ".jsonl, .json, .csv or .tsv (-o)."
        )
    tally = _Tally(session, output, lenient, skip_invalid)
    with (
        opened_input(file) as (content, name),
        interruptible("stopped; nothing was written." if output != "-" else "stopped."),
        suppress(_Unconverted),
        open_output(output) as write,
    ):
        total = _size(content)
        filled = Template(model=model, provider=provider, **template)
        with open_content(
            content,
            filled,
            encoding=encoding,
            progress=lambda done: session.display.upload(name, done, total),
        ) as read:
            _refuse_unused(read, template)
            tally.begin(read)
            # A table's rows got their model from the template.
            change = (
                {"to": to}
                if read.unit == "row" and filled.prompt is not None
                else {"to": to, "model": model, "provider": provider}
            )
            for number, line in _converted(session, tally, read, change):
                tally.write(write, number, line)
        tally.judge()
    session.display.settle()
    tally.sum_up(name)
    return ExitCode.BAD_INPUT if tally.unconverted else ExitCode.OK


class _Unconverted(Exception):
    """Some lines could not be converted, and none of the file is to be written."""


def _size(file: BinaryIO) -> int | None:
    if not file.seekable():
        return None
    here = file.tell()
    size = file.seek(0, os.SEEK_END) - here
    file.seek(here)
    return size


def _refuse_unused(read: Content, template: dict[str, Any]) -> None:
    from polybatch._convert import EMPTY

    given = [name for name, value in template.items() if value]
    if given and read.unit != "row":
        option = f"--{given[0].replace('_', '-')}"
        if read.kind.startswith(EMPTY):
            raise UnusableInput(
                f"the file is empty; {option} is for a table whose first row names its columns."
            )
        raise UnusableInput(f"{option} is for tables; this is {read.kind}: leave it out.")


def _converted(
    session: Session, tally: _Tally, read: Content, change: dict[str, Any]
) -> Iterator[tuple[int, bytes]]:
    """The lines and their numbers, by the service where it has something to translate."""
    if not any(change.values()):
        yield from _as_they_are(tally, read)
        return
    for first, lines, count in _groups(read.records, tally):
        yield from _by_service(session, tally, first, lines, count, change)


def _as_they_are(tally: _Tally, read: Content) -> Iterator[tuple[int, bytes]]:
    from polybatch._convert import Refusal, refused_as_written

    for record in read.records:
        if isinstance(record, Refusal):
            tally.refuse(record)
        elif record.line:
            # Rows have just been made into JSON.
            refusal = None if read.unit == "row" else refused_as_written(record)
            if refusal is None:
                yield record.number, record.line
            else:
                tally.refuse(refusal)


def _groups(records: Iterable[Record | Any], tally: _Tally) -> Iterator[tuple[int, bytes, int]]:
    """The number of the first line, some lines, and how many; a long line goes alone."""
    from polybatch._convert import Refusal

    first, count, group = 0, 0, bytearray()
    for record in records:
        line = b""
        if isinstance(record, Refusal):
            # A blank line keeps the place of what is not there.
            tally.refuse(record)
        else:
            line = record.line
        if count and (len(group) + len(line) > _GROUP_BYTES or count == _GROUP_LINES):
            yield first, bytes(group), count
            count, group = 0, bytearray()
        first = first if count else record.number
        count += 1
        group += line + b"\n"
    if count:
        yield first, bytes(group), count


def _by_service(
    session: Session, tally: _Tally, first: int, lines: bytes, count: int, change: dict[str, Any]
) -> Iterator[tuple[int, bytes]]:
    from polybatch import InvalidRequest
    from polybatch._convert import Refusal

    try:
        converted = session.client.convert_lines(
            lines, first_line=first, lenient=tally.lenient, **change
        )
    except InvalidRequest as error:
        if count > 1 or error.reason != "CONVERSION_TOO_LARGE":
            raise
        tally.refuse(Refusal(first, "", "line_too_long", f"It has {len(lines):,} bytes."))
        return
    refused = set()
    for problem in converted.problems:
        if not tally.report(problem):
            refused.add(problem.line)
    numbers = (
        number
        for number, line in enumerate(lines.split(b"\n"), first)
        if line.strip() and number not in refused
    )
    for line in filter(None, converted.lines.split(b"\n")):
        yield next(numbers, 0), line


class _Tally:
    """Counts the lines, and tells of those that could not be converted."""

    def __init__(self, session: Session, output: str, lenient: bool, skip_invalid: bool) -> None:
        self._session = session
        self._output = output
        self.lenient = lenient
        self._skip = skip_invalid
        self._unit = "line"
        self._kind = ""
        self._written = self._refused = self._forgivable = self._left_out = self._others = 0
        self._kinds: dict[str, int] = {}
        """What was told, and how often it came: each is told once."""

    def begin(self, read: Content) -> None:
        self._unit, self._kind = read.unit, read.kind

    @property
    def unconverted(self) -> bool:
        """Whether lines are missing that were not to be left out."""
        return bool(self._refused) and not self._skip

    def write(self, write: Any, number: int, line: bytes) -> None:
        from polybatch._convert import Refusal

        try:
            write(line)
        except Refusal as refusal:
            refusal.number = number
            self.refuse(refusal)
        else:
            self._written += 1

    def refuse(self, refusal: Any) -> None:
        self._refused += 1
        self._tell(refusal.number, "", refusal)

    def report(self, problem: LineProblem) -> bool:
        """Returns whether its line is there all the same, without what was left out."""
        kept = self.lenient and problem.lenient
        if kept:
            self._left_out += 1
        else:
            self._refused += 1
            self._forgivable += problem.lenient
        self._tell(problem.line, problem.custom_id, problem)
        return kept

    def judge(self) -> None:
        """Raises _Unconverted where the file is not to be written."""
        if self.unconverted:
            raise _Unconverted

    def sum_up(self, name: str) -> None:
        if self._session.json:
            if self._output != "-":
                self._session.emit(
                    {
                        "type": "summary",
                        "input": self._kind,
                        "written": 0 if self.unconverted else self._written,
                        "refused": self._refused,
                        "left_out": self._left_out,
                    }
                )
            return
        for place, times in self._kinds.items():
            if times > 1:
                self._session.note(printable(f"{place}: the same {self._times(times - 1)} more"))
        if self._others:
            self._session.note(f"... and {self._others:,} problems of other kinds (--json has all)")
        text = f"{name}: {self._kind}, {self._count(self._written)} converted"
        if self._refused:
            text += f", {self._refused:,} refused"
        if self.unconverted:
            if self._output != "-":
                text += "; nothing was written"
            text += ". Fix them, or leave them out with --skip-invalid"
            if self._forgivable:
                text += f"; --lenient takes {self._forgivable:,} of them"
        self._session.note(f"{text}.")

    def _count(self, number: int) -> str:
        return f"{number:,} {self._unit}{'' if number == 1 else 's'}"

    def _tell(self, number: int, custom_id: str, found: Any) -> None:
        word = "left out" if self.lenient and getattr(found, "lenient", False) else "error"
        if self._session.json:
            document = {
                "type": "problem",
                "line": number,
                "custom_id": custom_id,
                "field": found.field,
                "reason": found.reason,
                "message": found.message,
                "severity": "warning" if word == "left out" else "error",
            }
            # Among the lines it would be one.
            print(to_json(document), file=sys.stderr if self._output == "-" else sys.stdout)
            return
        kind = ": ".join(filter(None, (word, found.field, found.message)))
        if kind in self._kinds:
            self._kinds[kind] += 1
        elif len(self._kinds) == _SHOWN:
            self._others += 1
        else:
            self._kinds[kind] = 1
            parts = [f"{self._unit} {number}", word, custom_id, found.field]
            place = ": ".join(part for part in parts if part)
            self._session.note(printable(f"{place}: {found.message} ({found.reason})"))

    @staticmethod
    def _times(number: int) -> str:
        return "once" if number == 1 else f"{number:,} times"
