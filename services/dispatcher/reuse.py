"""Of the plan step: lines that need not be run, as an equal one has an answer or will have one.

In: a batch with `reuse_answers`, its file, and what the account's other such batches lend. Out:
what becomes of each line; for lines that take answers of other batches a settled shard with their
results. What can go wrong: a batch that lends is deleted meanwhile, or no room for the spool file
(both raised: the item comes back and is planned anew, the same way as far as nothing has changed).
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta

from core.batchfile import (
    EQUAL,
    INDEX,
    DigestReader,
    Digests,
    DigestWriter,
    Pairs,
    ResultFile,
    ResultWriter,
    context_of,
    decode_request,
    read_records,
    request_digest,
    stream_records,
)
from core.blobs import BlobMissing, BlobStore, StoredFile
from core.failpoints import Failpoint
from core.ledger import TWINS_WAIT, Batch, File, Ledger, Shard, ShardPurpose, ShardState, now
from core.pipeline import BorrowedAnswers, Runtime
from core.providers import DirectProvider, Provider

_MOST_LENDERS = 1000
"""Batches that are looked through, the newest first: each costs a read at least."""
_RUN = ShardPurpose.NONE
_KINDS = (_RUN, ShardPurpose.REUSED, ShardPurpose.TWINS)


@dataclass(slots=True)
class Reuse:
    """What becomes of the lines of a batch: a byte for each, and 8 for each that is not run."""

    kinds: bytearray = field(default_factory=bytearray)
    """By line number, positions in _KINDS."""
    twins: Pairs = field(default_factory=Pairs)
    """Of a line the first one that asks the same."""
    borrowed: list[tuple[Batch, Pairs]] = field(default_factory=list)
    """Of batches that lend: their lines, and ours that take the answers."""

    def of(self, line: int) -> ShardPurpose:
        """What becomes of a line."""
        return _KINDS[self.kinds[line]] if line < len(self.kinds) else _RUN

    def mark(self, line: int, purpose: ShardPurpose) -> None:
        """Settle what becomes of a line."""
        if line >= len(self.kinds):
            self.kinds.extend(bytes(line + 1 - len(self.kinds)))
        self.kinds[line] = _KINDS.index(purpose)

    def lines(self, purpose: ShardPurpose) -> array[int]:
        """The numbers of the lines of a kind."""
        kind = _KINDS.index(purpose)
        return array("I", (line for line, each in enumerate(self.kinds) if each == kind))


class ReusePlanner:
    """Finds and takes answers for batches with `reuse_answers`."""

    def __init__(
        self, runtime: Runtime, providers: Mapping[str, Provider | DirectProvider]
    ) -> None:
        self._ledger: Ledger = runtime.ledger
        self._blobs: BlobStore = runtime.blobs
        self._settings = runtime.settings
        self._providers = providers

    async def find(self, batch: Batch, file: File, unfit: int) -> Reuse:
        """What becomes of the lines of a batch; stores the digests of those that are run.

        `unfit`: flags of lines that the batch does not take. Raises BlobUnavailable.
        """
        digests = await self._digests(batch, file, unfit)
        lenders, readers = await self._lenders(batch)
        borrowed = [(lender, Pairs()) for lender in lenders]
        reuse = Reuse()
        writer = DigestWriter(self._blobs, batch.ran_prefix, point=Failpoint.PLAN_DIGESTS)
        for first_byte, (wanted, twins) in enumerate(digests.partitions()):
            taken: dict[int, tuple[int, int]] = {}
            for number, reader in enumerate(readers):
                if not wanted:
                    break
                for digest, theirs in EQUAL.iter_unpack(await reader.partition(first_byte)):
                    line = wanted.pop(digest, None)
                    if line is not None:
                        taken[line] = (number, theirs)
            for line, (number, theirs) in taken.items():
                borrowed[number][1].add(theirs, line)
                reuse.mark(line, ShardPurpose.REUSED)
            for line, first in twins:
                if first in taken:
                    number, theirs = taken[first]
                    borrowed[number][1].add(theirs, line)
                    reuse.mark(line, ShardPurpose.REUSED)
                else:
                    reuse.twins.add(line, first)
                    reuse.mark(line, ShardPurpose.TWINS)
            await writer.write(list(wanted.items()))
        await writer.close()
        reuse.borrowed = [(lender, pairs) for lender, pairs in borrowed if pairs]
        return reuse

    async def settle(self, batch: Batch, file: File, shards: Sequence[Shard], reuse: Reuse) -> int:
        """Write the results of the shards that take answers of other batches, which are settled
        with that; say which lines the others of them wait for. Returns the nano-dollars saved.

        Raises BlobUnavailable, BlobMissing and OSError.
        """
        twins, firsts = array("I"), array("I")
        for line, first in reuse.twins:
            twins.append(line)
            firsts.append(first)
        for shard in shards:
            if shard.purpose == ShardPurpose.TWINS:
                await self._store_firsts(shard, twins, firsts)
        if not reuse.borrowed:
            return 0
        saved = 0
        lines = reuse.lines(ShardPurpose.REUSED)
        reserve = self._settings.work_reserve
        with BorrowedAnswers(lines, self._settings.spool_dir, reserve=reserve) as answers:
            for lender, pairs in reuse.borrowed:
                await self._borrow(lender, pairs, answers)
            for shard in shards:
                if shard.purpose == ShardPurpose.REUSED:
                    saved += await self._write(shard, batch, file, answers)
        return saved

    async def _digests(self, batch: Batch, file: File, unfit: int) -> Digests:
        contexts = {
            number: context_of(
                group["provider"],
                self._providers[group["provider"]].remote_model(group["model"]),
                lenient=batch.lenient_translation,
            )
            for number, group in enumerate(file.groups)
            if group["provider"] in self._providers
        }
        digests = Digests()

        def add(group: Sequence[tuple[tuple[int, ...], bytes]]) -> None:
            for (_offset, _length, line, number, _flags), raw in group:
                request = decode_request(raw)
                digests.add(request_digest(contexts[number], request.url, request.body), line)

        data = await StoredFile.open(self._blobs, f"{file.prefix}/data")
        index = await StoredFile.open(self._blobs, f"{file.prefix}/index")
        async for records in stream_records(index, INDEX.size):
            fit = [record for record in INDEX.iter_unpack(records) if not record[4] & unfit]
            async with aclosing(read_records(data, fit)) as groups:
                async for group in groups:
                    # In a thread, as a large file would hold up all others.
                    await asyncio.to_thread(add, group)
        return digests

    async def _lenders(self, batch: Batch) -> tuple[list[Batch], list[DigestReader]]:
        if not batch.reuse_seconds:
            return [], []
        since = now() - timedelta(seconds=batch.reuse_seconds)
        found = await self._ledger.lending.batches(batch.account_id, since, _MOST_LENDERS)
        lenders, readers = [], []
        for lender in found:
            try:
                readers.append(await DigestReader.open(self._blobs, lender.lent_prefix))
            except BlobMissing:
                # It has just ended and does not lend yet, or is being deleted.
                continue
            lenders.append(lender)
        return lenders, readers

    async def _borrow(self, lender: Batch, pairs: Pairs, answers: BorrowedAnswers) -> None:
        results = await ResultFile.open(self._blobs, lender.results_prefix)
        wanted = iter(pairs)
        pair = next(wanted, None)
        async with aclosing(results.lines(succeeded=True)) as groups:
            async for group in groups:
                for found in group:
                    while pair is not None and pair[0] < found.line:
                        pair = next(wanted, None)
                    while pair is not None and pair[0] == found.line:
                        answers.add(pair[1], found.outcome, found.raw)
                        pair = next(wanted, None)
                if pair is None:
                    return

    async def _write(self, shard: Shard, batch: Batch, file: File, answers: BorrowedAnswers) -> int:
        # Not random: planned again, it takes the place of what was written before.
        prefix = f"batches/{batch.id}/shards/{shard.id}/results/reused"
        writer = ResultWriter(
            self._blobs,
            prefix,
            point=Failpoint.PLAN_REUSED,
            segment_bytes=self._settings.segment_bytes,
        )
        written, saved = await answers.write(shard, batch, file, self._blobs, writer)
        shard.state = ShardState.SETTLED
        shard.settled_at = now()
        shard.results_prefix = prefix
        shard.succeeded = written.succeeded
        return saved

    async def _store_firsts(self, shard: Shard, lines: array[int], firsts: array[int]) -> None:
        """Beside the shard's list of lines, the line whose answer each of them takes."""
        records = await self._blobs.get(shard.lines_key)
        ours = (firsts[bisect_left(lines, line)] for _, _, line, *_ in INDEX.iter_unpack(records))
        stored = array("I", ours).tobytes()
        await self._blobs.put(shard.firsts_key, stored, point=Failpoint.PLAN_LINES)
        # It waits for the others: the one who settles the last of them wakes it.
        shard.state = ShardState.FETCHING
        shard.due_at = now() + TWINS_WAIT
