"""Shards that are over a limit: cut into smaller ones, and lines that no batch can hold."""

from __future__ import annotations

import re
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec

from core.batchfile import (
    INDEX,
    ResultWriter,
    answer_line,
    decode_request,
    error_json,
    read_records,
)
from core.blobs import BlobStore, StoredFile
from core.failpoints import Failpoint
from core.ledger import Batch, File, Settlement, Shard, new_id, new_token, now
from core.pipeline import TOKEN_LIMIT, Allowance, refused_for_itself, surely_over
from services.dispatcher.sharding import LINE_OVERHEAD

# Their contents are no text: a megabyte of an image has no more tokens than a page.
_NO_TEXT = frozenset({"image_url", "input_audio", "file"})
_SPACE = re.compile(r"\s+")
# A number in a list of token ids is a token.
_BYTES_OF_A_NUMBER = 4


@dataclass(frozen=True, slots=True)
class Weighed:
    """How much of a request counts as prompt."""

    text: int
    """Bytes, each run of white space as one."""
    only_text: bool
    """False where there are images, sounds or files."""


def weigh(body: bytes | msgspec.Raw) -> Weighed:
    """Weigh the body of a request; one that cannot be read weighs nothing."""
    try:
        left: list[Any] = [msgspec.json.decode(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Weighed(0, only_text=False)
    text, only_text = 0, True
    while left:
        value = left.pop()
        if isinstance(value, str):
            text += len(_SPACE.sub(" ", value).encode())
        elif isinstance(value, (int, float)):
            text += _BYTES_OF_A_NUMBER
        elif isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            left += (each for key, each in value.items() if key not in _NO_TEXT)
            only_text = only_text and _NO_TEXT.isdisjoint(value)
    return Weighed(text, only_text)


def lines_within(records: bytes, size: int) -> int:
    """How many lines of a line list fit into so many bytes; one at least."""
    lines = used = 0
    for _offset, length, *_ in INDEX.iter_unpack(records):
        used += length + LINE_OVERHEAD
        if lines and used > size:
            break
        lines += 1
    return lines


async def cut(shard: Shard, records: bytes, fitting: int, blobs: BlobStore) -> list[Shard]:
    """The shards that take the place of one, the first with so many lines; their lists stored."""
    at = fitting * INDEX.size
    return [await successor(shard, part, blobs) for part in (records[:at], records[at:]) if part]


async def successor(shard: Shard, records: bytes, blobs: BlobStore) -> Shard:
    """A shard that takes over some lines of one that was not sent; their list is stored."""
    made = shard.successor(
        new_id("shard"),
        lines=len(records) // INDEX.size,
        round_number=shard.round,
        due_at=now(),
    )
    made.byte_count = sum(length + LINE_OVERHEAD for _, length, *_ in INDEX.iter_unpack(records))
    # It has waited as long as the one that it comes from.
    made.created_at = shard.created_at
    await blobs.put(made.lines_key, records, point=Failpoint.SPLIT_LINES)
    return made


async def part_overlong(
    shard: Shard,
    allowance: Allowance,
    *,
    batch: Batch,
    file: File,
    blobs: BlobStore,
    segment_bytes: int,
) -> tuple[Settlement, list[Shard]] | None:
    """Fail the lines that alone are over the token limit; the others go into a new shard.

    Gives how the shard is to be settled, or None where no line is surely over it. Raises
    BlobUnavailable.
    """
    if _limit(shard, shard.byte_count, allowance) is None:
        return None
    records = await blobs.get(shard.lines_key)
    found = await _overlong(shard, allowance, file, records, blobs)
    if not found:
        return None
    prefix = f"batches/{batch.id}/shards/{shard.id}/results/{new_token()}"
    writer = ResultWriter(blobs, prefix, point=Failpoint.SHARD_REJECTS, segment_bytes=segment_bytes)
    for line, each in found.items():
        message = (
            f"The line has about {each.tokens:,} prompt tokens (estimated); {shard.provider} "
            f"lets {each.limit:,} be enqueued for {shard.remote_model} at a time."
        )
        error = error_json(TOKEN_LIMIT, message)
        answer = answer_line(
            batch.id, line, each.custom_id, None, error, model=each.model, attempts=shard.round
        )
        await writer.append(line, answer, succeeded=False)
    await writer.close()
    rest = b"".join(
        INDEX.pack(*record) for record in INDEX.iter_unpack(records) if record[2] not in found
    )
    left = [await successor(shard, rest, blobs)] if rest else []
    retried = shard.line_count - len(found)
    return Settlement(0, len(found), retried=retried, results_prefix=prefix), left


@dataclass(frozen=True, slots=True)
class _Overlong:
    """A line that alone is over the limit."""

    custom_id: str
    model: str
    tokens: int
    limit: int


async def _overlong(
    shard: Shard, allowance: Allowance, file: File, records: bytes, blobs: BlobStore
) -> dict[int, _Overlong]:
    """The lines that are surely over the limit, by line number."""
    # Most files hold none that is long enough: only the others are read.
    long = [
        record
        for record in INDEX.iter_unpack(records)
        if _limit(shard, record[1] + LINE_OVERHEAD, allowance) is not None
    ]
    if not long:
        return {}
    found: dict[int, _Overlong] = {}
    data = await StoredFile.open(blobs, f"{file.prefix}/data")
    async with aclosing(read_records(data, long)) as groups:
        async for group in groups:
            for (_offset, length, line, number, _flags), raw in group:
                request = decode_request(raw)
                weighed = weigh(request.body)
                size = length + LINE_OVERHEAD if weighed.only_text else weighed.text
                limit = surely_over(weighed.text, allowance)
                limit = limit or refused_for_itself(shard, size, allowance)
                if limit is not None:
                    model = file.groups[number]["model"]
                    tokens = allowance.budget.tokens(size)
                    found[line] = _Overlong(request.custom_id, model, tokens, limit)
    return found


def _limit(shard: Shard, size: int, allowance: Allowance) -> int | None:
    return surely_over(size, allowance) or refused_for_itself(shard, size, allowance)
