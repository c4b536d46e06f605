"""Checks a file of requests while it streams in, and makes its line index.

    chunks --LineSplitter--> lines --> an index record each, by the first of these ways that will do

    1. `_scan`      its shape is known (shapes.py): one decoding, a look at its messages, counted
    2. `_check`     its model is known (groups.py): its provider's check is asked, its media are
                    weighed, and its shape is learned where that pays
    3. `_diagnose`  all else: blank, bad, or the first of its model (diagnosis.py). Only here
                    a model becomes a group; the first valid line decides what kind all have to be

Nearly all lines of most files go the first way; what is found does not depend on the way. The
decoder (fast_path.py) gives the whole body of a line of the common kind, which the first way needs,
and little more than the model of any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import msgspec

from core.batchfile.asking import asked_by, asked_of, asked_plainly
from core.batchfile.diagnosis import BYTE_ORDER_MARK, doubled_warnings, examine, line_too_long
from core.batchfile.doubled_keys import is_sampled, next_sampled
from core.batchfile.duplicates import SeenIds
from core.batchfile.fast_path import PlainDecoder
from core.batchfile.groups import Groups
from core.batchfile.index import INDEX, INVALID, LENIENT, NO_GROUP
from core.batchfile.media_hint import may_hold_media
from core.batchfile.media_scan import MediaScan
from core.batchfile.problems import Problem
from core.batchfile.recognition import FileRecognizer
from core.batchfile.repeated_warnings import RepeatedWarnings
from core.batchfile.rules import NO_MEDIA, Finding, Media, Rules
from core.batchfile.scanned import Scanned, Summary
from core.batchfile.schema import BOM, Kind, Line, decode_request
from core.batchfile.shapes import Key, Shapes
from core.batchfile.splitting import LineSplitter, OversizedLine
from core.batchfile.totals import Totals
from core.batchfile.verdict import Verdict, path_in
from core.endpoints import CHAT_COMPLETIONS
from core.json_depth import MAX_DEPTH, deeper_than, with_stack_margin

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_MAX_LINE_NUMBER = 0xFFFF_FFFF
_LINES_AT_ONCE = 4096
_CR = 13


class TooManyLines(Exception):
    """The file has more lines than a file may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the file has more than {limit} lines")
        self.limit = limit


class LineScanner:
    """Takes a file in chunks of any size and gives its index and its problems.

    What comes out does not depend on how the file was cut into chunks. Memory: the
    line that is not whole yet, and 12 bytes for each line before it.
    """

    def __init__(
        self, rules: Rules, *, max_line_bytes: int, max_lines: int, max_depth: int = MAX_DEPTH
    ) -> None:
        """`max_line_bytes`: of a line without its newline and CR.

        `max_lines`: lines that are not blank. `max_depth`: levels of JSON in a line.
        """
        self._rules = rules
        self._max_depth = max_depth
        self._max_line_bytes = max_line_bytes
        self._max_lines = max_lines
        # One more than the limit: only the end of a line tells whether it is a CR.
        self._splitter = LineSplitter(max_line_bytes + 1)
        self._recognizer = FileRecognizer()
        self._plain = PlainDecoder(rules.plain, rules.own_plain)
        self._seen = SeenIds()
        self._groups = Groups(rules, self._plain)
        self._warnings = RepeatedWarnings()
        self._endpoint = ""
        self._kind: Kind | None = None
        self._size = 0
        self._offset = 0
        self._line = 0
        self._records = 0
        self._unknown = 0
        self._invalid = 0
        self._totals = Totals()
        self._media = MediaScan(rules.media, self._totals)
        self._shapes = Shapes(self._groups, self._totals)
        self._sample_at = 0
        self._sum_up_at = _LINES_AT_ONCE

    def feed(self, chunk: bytes) -> Iterator[Scanned]:
        """Take the next bytes; yields what the lines that they end gave. To be exhausted.

        A chunk of very short bad lines makes more problems than bytes: they come a few
        thousand lines at a time. Raises TooManyLines; nothing else, whatever the bytes.
        """
        if self._line + len(chunk) > _MAX_LINE_NUMBER:
            raise TooManyLines(_MAX_LINE_NUMBER)
        self._size += len(chunk)
        chunk = self._recognizer.take(chunk)
        yield from self._feed(chunk)

    def _feed(self, chunk: bytes) -> Iterator[Scanned]:
        if b"\n" not in chunk:
            self._splitter.keep(chunk)
            return
        lines = self._splitter.split(chunk)
        scanned = _LINES_AT_ONCE
        while scanned == _LINES_AT_ONCE:
            before = self._line
            some = islice(lines, _LINES_AT_ONCE)
            yield with_stack_margin(partial(self._scan, some))
            scanned = self._line - before

    def finish(self) -> tuple[Scanned, Summary]:
        """Take the last line, where no newline ends it, and sum up.

        Looks for duplicates, which takes about 0.2 s for a million lines.
        """
        held = [*self._feed(self._recognizer.finish())]
        last = self._splitter.finish()
        lines = [] if last is None else [last]
        held.append(with_stack_margin(partial(self._scan, lines)))
        problems = [problem for each in held for problem in each.problems]
        if self._recognizer.problem is not None:
            problems = [self._recognizer.problem]
        self._shapes.sum_up()
        scanned = Scanned(
            b"".join(each.index for each in held),
            problems,
            b"".join(each.media for each in held),
        )
        summary = Summary(
            endpoint=self._endpoint,
            bytes=self._size,
            line_count=self._records,
            invalid_count=self._invalid,
            lenient_count=sum(self._groups.lenient),
            groups=self._groups.summed_up(),
            warnings=self._warnings.problems(),
            duplicates=self._seen.duplicates(),
            totals=self._totals.sums(),
        )
        return scanned, summary

    def _scan(self, lines: Iterable[bytes | OversizedLine]) -> Scanned:
        index = bytearray()
        problems: list[Problem] = []
        # Locals, as this loop runs once for each line of the file.
        decode, whole = self._plain.decode, self._plain.decodes_whole
        see_id, see_line, pack = self._seen.take_hash, self._seen.take_line, INDEX.pack
        shape_of, options_of = self._shapes.find, self._plain.options_of
        longest = self._max_line_bytes
        line, offset, sample_at = self._line, self._offset, self._sample_at
        piece: Any
        for piece in lines:
            line += 1
            start = offset
            size = len(piece)
            offset += size + 1
            raw = piece
            if size > longest or (size and raw[-1] == _CR):
                raw = self._trimmed(piece)
                size = len(raw)
                if isinstance(raw, OversizedLine):
                    self._invalid += 1
                    problems.append(line_too_long(line, size, longest))
                    index += pack(start, 0, line, NO_GROUP, INVALID)
                    continue
            found: Any = None
            key = shape = None
            try:
                found = decode(raw)
                if whole:
                    body = found.body
                    options = options_of(body) if body.has_options else None
                    limit, other_limit = body.max_tokens, body.max_completion_tokens
                    key = (found.provider, body.model, limit, other_limit, options)
                    shape = shape_of(key)
            except _UNREADABLE:
                pass
            if shape is None or not shape.fits(body.messages):
                index += self._check(raw, line, start, found, key, problems)
                decode, whole = self._plain.decode, self._plain.decodes_whole
                options_of = self._plain.options_of
                continue
            see_id(hash(found.custom_id))
            see_line(line)
            if line >= sample_at:
                if is_sampled(line) and not shape.has_no_key_twice(raw, body.messages):
                    shape.options_seen = self._has_no_key_twice(raw, line, found.custom_id)
                sample_at = self._sample_from(line)
            if shape.warnings:
                self._tell(line, found.custom_id, shape.warnings, problems)
            shape.count(size)
            index += pack(start, size, line, shape.group, 0)
            # The next line is to take the memory of this one, which the processor has at hand.
            piece = raw = found = body = None
        self._seen.deal()
        self._line, self._offset, self._sample_at = line, offset, sample_at
        self._records += len(index) // INDEX.size
        if self._records > self._max_lines:
            raise TooManyLines(self._max_lines)
        return Scanned(bytes(index), problems, self._media.take_records())

    def _check(
        self,
        raw: bytes,
        line: int,
        start: int,
        found: Line | None,
        key: Key | None,
        problems: list[Problem],
    ) -> bytes:
        """The second way: a line of which no shape is known. Returns its index record.

        `found`: None for one that could not be decoded.
        """
        self._unknown += 1
        size = len(raw)
        try:
            if found is None:
                found = self._plain.missed(raw)
            body: Any = found.body
            # The decoder has seen every byte of a body that is nothing but texts.
            if not found.whole or body.has_options:
                if not raw.isascii():
                    raw.decode()
                if size > 2 * self._max_depth and deeper_than(raw, self._max_depth):
                    raise RecursionError
            group = (
                None if body.stream else self._groups.number_of.get((found.provider, body.model))
            )
        except _UNREADABLE:
            group = None
        if group is None or found is None:
            return self._diagnose(raw, line, start, problems)
        custom_id = found.custom_id
        self._seen.add(line, custom_id)
        if is_sampled(line):
            self._has_no_key_twice(raw, line, custom_id)
        findings: tuple[Finding, ...] = ()
        flags = 0
        if group in self._groups.checks:
            findings = tuple(self._groups.findings(raw, group, found))
            flags = self._tell(line, custom_id, findings, problems) if findings else 0
        if flags & INVALID:
            return self._unfit(start, size, line, group, flags)
        media: Media | None = NO_MEDIA
        if not found.whole and self._media.may_be_in(raw, found.url):
            media = self._weigh(raw, line, group, custom_id, found.url, problems)
        if media is None:
            return self._unfit(start, size, line, NO_GROUP, INVALID)
        if found.whole and (found.url == CHAT_COMPLETIONS or not body.has_options):
            asked = asked_plainly(body.max_tokens, body.max_completion_tokens, body.tools)
        else:
            asking: Any = self._plain.read(raw).body if found.whole else body
            asked = asked_by(found.url, asking, raw)
        if media is NO_MEDIA:
            self._totals.add(group, size, asked, lenient=flags != 0)
        else:
            self._media.add_up(media, group, size, asked, lenient=flags != 0)
        if flags:
            return self._unfit(start, size, line, group, flags)
        self._groups.count(group, size)
        if key is not None and self._shapes.are_worth_it(line, self._unknown):
            fits = self._groups.fits(group)
            if fits is not None and fits(body.messages):
                self._shapes.learn(key, found, group, fits, findings, asked)
        return INDEX.pack(start, size, line, group, 0)

    def _sample_from(self, line: int) -> int:
        """The next line in which doubled keys are looked for.

        Sums are brought up to date then: what comes out depends on the lines alone, and not on
        how they were cut into chunks.
        """
        if line >= self._sum_up_at:
            self._shapes.sum_up()
            self._sum_up_at = line + _LINES_AT_ONCE
        return next_sampled(line)

    def _trimmed(self, piece: bytes | OversizedLine) -> bytes | OversizedLine:
        if isinstance(piece, OversizedLine):
            return OversizedLine(piece.size - piece.ends_in_cr, ends_in_cr=False)
        raw = piece[:-1] if piece.endswith(b"\r") else piece
        return OversizedLine(len(raw), ends_in_cr=False) if len(raw) > self._max_line_bytes else raw

    def _diagnose(self, raw: bytes, line: int, start: int, problems: list[Problem]) -> bytes:
        """The third way. Returns the line's index record; nothing for a blank line."""
        if line == 1 and raw.startswith(BOM):
            raw = raw[len(BOM) :]
            start += len(BOM)
            self._warnings.add(BYTE_ORDER_MARK)
        if not raw or raw.isspace():
            return b""
        verdict = examine(raw, line, self._endpoint, self._rules, self._max_depth, kind=self._kind)
        check = self._rules.checks.get(verdict.provider)
        if check is not None and not verdict.flags:
            for finding in check(verdict.url, verdict.model, decode_request(raw).body):
                verdict.find(finding)
        group = NO_GROUP if verdict.flags & INVALID else self._group(verdict)
        flags = verdict.flags
        for problem in verdict.problems:
            if problem.severity == "error":
                problems.append(problem)
            else:
                self._warnings.add(problem)
        if verdict.custom_id and verdict.id_is_whole:
            self._seen.add(line, verdict.custom_id)
        media: Media | None = NO_MEDIA
        if not flags & INVALID and may_hold_media(raw):
            media = self._weigh(raw, line, group, verdict.custom_id, verdict.url, problems)
            if media is None:
                flags |= INVALID
        if media is not None and not flags & INVALID:
            asked = asked_of(verdict.url, decode_request(raw).body)
            self._media.add_up(media, group, len(raw), asked, lenient=flags != 0)
        if flags:
            return self._unfit(start, len(raw), line, group, flags)
        self._groups.count(group, len(raw))
        return INDEX.pack(start, len(raw), line, group, 0)

    def _tell(
        self, line: int, custom_id: str, findings: Iterable[Finding], problems: list[Problem]
    ) -> int:
        """Report what was found; gives the flags of the line."""
        flags = 0
        for finding in findings:
            kind = self._kind or Kind.OPENAI
            problem = Problem(line, custom_id, path_in(kind, finding.field), *finding[1:])
            if finding.severity == "warning":
                self._warnings.add(problem)
                continue
            problems.append(problem)
            flags |= LENIENT if finding.lenient else INVALID
        return flags

    def _weigh(
        self, raw: bytes, line: int, group: int, custom_id: str, url: str, problems: list[Problem]
    ) -> Media | None:
        named, kind = self._groups.names[group], self._kind or Kind.OPENAI
        return self._media.weigh(raw, line, named, custom_id, url, kind, problems)

    def _has_no_key_twice(self, raw: bytes, line: int, custom_id: str) -> bool:
        """Look for such keys, and warn of them."""
        warnings = doubled_warnings(raw, line, custom_id)
        for warning in warnings:
            self._warnings.add(warning)
        return not warnings

    def _unfit(self, start: int, size: int, line: int, group: int, flags: int) -> bytes:
        """Count a line that not every batch takes; returns its index record."""
        self._invalid += 1
        if flags & INVALID:
            return INDEX.pack(start, size, line, NO_GROUP, INVALID)
        self._groups.lenient[group] += 1
        return INDEX.pack(start, size, line, group, LENIENT)

    def _group(self, verdict: Verdict) -> int:
        """The group of a line; the first valid one decides what all have to be."""
        group = self._groups.place(verdict)
        if group == NO_GROUP:
            return group
        if not self._endpoint:
            self._endpoint, self._kind = verdict.url, verdict.kind
            self._plain.begin(verdict.kind, verdict.url)
        return group
