"""Cut a batch's lines into shards, for the plan step.

A shard holds lines for one provider, and for one model where the provider wants
that, within the provider's limits. The plan reads only the line index that the upload
left, and writes a line list for each shard.

In: a batch, its file, and the providers. Out: shards, not yet in the ledger. What can go wrong: a
provider that this installation has no access to (ProviderMissing).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.batchfile import INDEX, INVALID, LENIENT, LINE_OVERHEAD, MediaReader, stream_records
from core.blobs import BlobStore, StoredFile
from core.failpoints import Failpoint
from core.ledger import Batch, File, Shard, ShardPurpose, ShardState, now
from core.providers import DirectProvider, Provider, ProviderLimits
from services.dispatcher.canary import CanaryLines
from services.dispatcher.reuse import Reuse

_MOST_REUSED = 1_000_000


@dataclass(slots=True)
class _Draft:
    """A shard being filled."""

    provider: str
    model: str
    purpose: ShardPurpose
    max_lines: int
    max_bytes: int | None
    lines: int = 0
    size: int = 0
    media_bytes: int = 0
    media_tokens: int = 0
    records: bytearray = field(default_factory=bytearray)

    def full(self, length: int) -> bool:
        return self.lines >= self.max_lines or (
            self.max_bytes is not None
            and self.lines > 0
            and self.size + length + LINE_OVERHEAD > self.max_bytes
        )


def _draft(provider: str, model: str, purpose: ShardPurpose, limits: ProviderLimits) -> _Draft:
    if purpose in (ShardPurpose.REUSED, ShardPurpose.TWINS):
        # Never sent: only memory limits them, and each costs a pass over the answers.
        return _Draft(provider, model, purpose, _MOST_REUSED, None)
    return _Draft(provider, model, purpose, limits.max_lines, limits.max_bytes)


def unfit_flags(batch: Batch) -> int:
    """The flags of lines that a batch does not take."""
    return INVALID if batch.lenient_translation else INVALID | LENIENT


class ProviderMissing(Exception):
    """The file names a provider that this installation has no access to."""

    def __init__(self, provider: str) -> None:
        super().__init__(provider)
        self.provider = provider


async def plan_shards(
    batch: Batch,
    file: File,
    blobs: BlobStore,
    providers: Mapping[str, Provider | DirectProvider],
    reuse: Reuse | None = None,
) -> list[Shard]:
    """Cut the lines of a file into shards and store their line lists.

    Deterministic: planned twice, the same shards with the same ids come out, so a plan
    that a crash cut off is simply made again. `reuse`: which lines are not run; None: all are.
    Lines that go first (core.ledger.Batch.canary_lines) are in shards of their own, of one model
    each, which come first. Raises ProviderMissing.
    """
    drafts: dict[tuple[str, str, ShardPurpose], _Draft] = {}
    keys: list[tuple[str, str, ShardPurpose]] = []
    totals: list[int] = []
    unfit = unfit_flags(batch)
    for group in file.groups:
        slug = group["provider"]
        lines = group["lines"]
        if batch.lenient_translation:
            lines += group.get("lenient_lines", 0)
        totals.append(lines)
        if not lines:
            keys.append((slug, "", ShardPurpose.NONE))
            continue
        if slug not in providers:
            raise ProviderMissing(slug)
        provider = providers[slug]
        one_model = provider.limits.one_model_per_batch
        model = provider.remote_model(group["model"]) if one_model else ""
        keys.append((slug, model, ShardPurpose.NONE))

    shards: list[Shard] = []

    async def cut(draft: _Draft) -> None:
        shard = Shard(
            # Not random: a repeated plan finds its own line lists again.
            id=f"shard_{batch.id.removeprefix('batch_')}{len(shards):04d}",
            batch_id=batch.id,
            account_id=batch.account_id,
            ordinal=len(shards),
            provider=draft.provider,
            model=draft.model,
            purpose=draft.purpose,
            priority=batch.priority,
            remote_model=providers[draft.provider].remote_model(draft.model),
            endpoint=batch.endpoint,
            state=ShardState.QUEUED,
            line_count=draft.lines,
            byte_count=draft.size,
            media_bytes=draft.media_bytes,
            media_tokens=draft.media_tokens,
            created_at=now(),
            due_at=now(),
        )
        await blobs.put(shard.lines_key, bytes(draft.records), point=Failpoint.PLAN_LINES)
        shards.append(shard)

    index = await StoredFile.open(blobs, f"{file.prefix}/index")
    if batch.canary_lines and reuse is not None:
        totals = await _run_lines(index, unfit, reuse, len(totals))
    canary = CanaryLines(batch.id, batch.canary_lines, totals) if batch.canary_lines else None
    picks = reuse is not None or canary is not None
    media = MediaReader(await StoredFile.open(blobs, f"{file.prefix}/media"))
    async for records in stream_records(index, INDEX.size):
        (_, _, last, *_) = INDEX.unpack_from(records, len(records) - INDEX.size)
        weights = await media.until(last)
        for position, (_offset, length, line, group_number, flags) in enumerate(
            INDEX.iter_unpack(records)
        ):
            if flags & unfit:
                continue
            key = keys[group_number]
            if picks:
                purpose = reuse.of(line) if reuse else ShardPurpose.NONE
                if not purpose and canary is not None and canary.take(group_number):
                    # Of one model, as each is judged by itself.
                    key = (key[0], file.groups[group_number]["model"], ShardPurpose.CANARY)
                elif purpose:
                    key = (*key[:2], purpose)
            draft = drafts.get(key)
            if draft is not None and draft.full(length):
                await cut(draft)
                draft = None
            if draft is None:
                slug, _, purpose = key
                draft = drafts[key] = _draft(
                    slug, file.groups[group_number]["model"], purpose, providers[slug].limits
                )
            start = position * INDEX.size
            draft.records += records[start : start + INDEX.size]
            draft.lines += 1
            draft.size += length + LINE_OVERHEAD
            if weights and line in weights:
                draft.media_bytes += weights[line].data_bytes
                draft.media_tokens += weights[line].tokens
    for draft in drafts.values():
        await cut(draft)
    if canary is not None:
        shards.sort(key=lambda shard: shard.purpose != ShardPurpose.CANARY)
        for ordinal, shard in enumerate(shards):
            shard.ordinal = ordinal
    return shards


async def _run_lines(index: StoredFile, unfit: int, reuse: Reuse, groups: int) -> list[int]:
    """How many lines of each group are run."""
    totals = [0] * groups
    async for records in stream_records(index, INDEX.size):
        for _offset, _length, line, group, flags in INDEX.iter_unpack(records):
            if not flags & unfit and not reuse.of(line):
                totals[group] += 1
    return totals
