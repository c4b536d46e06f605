"""Shards that are over a limit: cut into smaller ones, and lines that no batch can hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec

from core.batchfile import (
    INDEX,
    LINE_OVERHEAD,
    MediaReader,
    MediaWeight,
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
from core.providers import prompt_of

# Their contents are no text: a megabyte of an image has no more tokens than a page.
_NO_TEXT = frozenset(
    {"image_url", "input_audio", "file", "file_data", "source", "inlineData", "inline_data"}
)
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


Weights = Mapping[int, MediaWeight]
"""By line number, of the lines that have images, recordings or files."""


async def weights_of(shard: Shard, records: bytes, file: File, blobs: BlobStore) -> Weights:
    """What the images, recordings and files of a shard's lines weigh. Raises BlobUnavailable."""
    if not shard.media_tokens:
        return {}
    lines = {line for _, _, line, *_ in INDEX.iter_unpack(records)}
    reader = MediaReader(await StoredFile.open(blobs, f"{file.prefix}/media"))
    return await reader.until(max(lines), lines)


def lines_within(
    records: bytes, size: int, weights: Weights = MappingProxyType({}), media_bytes: float = 0.0
) -> int:
    """How many lines of a line list fit into so many bytes of text; one at least.

    `media_bytes`: how many bytes of text have the tokens of one token of media.
    """
    lines = 0
    used = 0.0
    for _offset, length, line, *_ in INDEX.iter_unpack(records):
        used += length + LINE_OVERHEAD
        if line in weights:
            used += weights[line].tokens * media_bytes - weights[line].data_bytes
        if lines and used > size:
            break
        lines += 1
    return lines


async def cut(
    shard: Shard, records: bytes, fitting: int, weights: Weights, blobs: BlobStore
) -> list[Shard]:
    """The shards that take the place of one, the first with so many lines; their lists stored."""
    at = fitting * INDEX.size
    parts = [part for part in (records[:at], records[at:]) if part]
    return [await successor(shard, part, weights, blobs) for part in parts]


async def successor(shard: Shard, records: bytes, weights: Weights, blobs: BlobStore) -> Shard:
    """A shard that takes over some lines of one that was not sent; their list is stored."""
    made = shard.successor(
        new_id("shard"),
        lines=len(records) // INDEX.size,
        round_number=shard.round,
        due_at=now(),
    )
    made.byte_count = sum(length + LINE_OVERHEAD for _, length, *_ in INDEX.iter_unpack(records))
    media = [weights[line] for _, _, line, *_ in INDEX.iter_unpack(records) if line in weights]
    made.media_bytes = sum(each.data_bytes for each in media)
    made.media_tokens = sum(each.tokens for each in media)
    # It has waited as long as the one that it comes from.
    made.created_at = shard.created_at
    await blobs.put(made.lines_key, records, point=Failpoint.SPLIT_LINES)
    return made


async def part_oversized(
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
    if _limit(shard, shard.text_bytes, allowance.tokens, allowance) is None:
        return None
    records = await blobs.get(shard.lines_key)
    weights = await weights_of(shard, records, file, blobs)
    found = await _oversized(shard, allowance, file, records, weights, blobs)
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
    left = [await successor(shard, rest, weights, blobs)] if rest else []
    retried = shard.line_count - len(found)
    return Settlement(0, len(found), retried=retried, results_prefix=prefix), left


@dataclass(frozen=True, slots=True)
class _Oversized:
    """A line that alone is over the limit."""

    custom_id: str
    model: str
    tokens: int
    limit: int


async def _oversized(
    shard: Shard,
    allowance: Allowance,
    file: File,
    records: bytes,
    weights: Weights,
    blobs: BlobStore,
) -> dict[int, _Oversized]:
    """The lines that are surely over the limit, by line number."""
    # Most files hold none that is long enough: only the others are read.
    tokens = allowance.quota.tokens
    long = []
    for record in INDEX.iter_unpack(records):
        base64, media = weights.get(record[2], (0, 0))
        size = record[1] + LINE_OVERHEAD - base64
        if _limit(shard, size, tokens(size, media), allowance) is not None:
            long.append(record)
    if not long:
        return {}
    found: dict[int, _Oversized] = {}
    data = await StoredFile.open(blobs, f"{file.prefix}/data")
    async with aclosing(read_records(data, long)) as groups:
        async for group in groups:
            for (_offset, length, line, number, _flags), raw in group:
                request = decode_request(raw)
                model = file.groups[number]["model"]
                weighed = weigh(request.body)
                if weighed.only_text:
                    estimate = tokens(length + LINE_OVERHEAD)
                else:
                    # Anew: a file of before its media were weighed has nothing beside it.
                    prompt = prompt_of(
                        request.body, provider=shard.provider, model=model, url=request.url
                    )
                    estimate = tokens(weighed.text, prompt.media_tokens)
                limit = _limit(shard, weighed.text, estimate, allowance)
                if limit is not None:
                    found[line] = _Oversized(request.custom_id, model, estimate, limit)
    return found


def _limit(shard: Shard, size: int, tokens: int, allowance: Allowance) -> int | None:
    """`size`: bytes of text."""
    return surely_over(size, allowance) or refused_for_itself(shard, tokens, allowance)
