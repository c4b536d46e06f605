"""Quotas: how many prompt tokens a provider lets be enqueued for a model at a time.

OpenAI refuses a batch that would go over the limit of its model and organisation. The
limit is a setting where the operator knows it, and is learned from refusals and probes
(`probing`). What is enqueued is counted here: the estimates of all shards that are at the
provider.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isclose

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from core.failpoints import Failpoint
from core.ledger import probing
from core.ledger.database import Database
from core.ledger.enqueued import (
    ENQUEUED,
    accepted_tokens,
    enqueued_tokens,
    first_waiting,
    is_accepted,
)
from core.ledger.states import ShardState
from core.ledger.tables import Shard, TokenQuota, now

FIRST_BYTES_PER_TOKEN = 3.0
"""Before anything is known of a model: English has about four, and JSON around it."""
_MODELS_AT_ONCE = 500
_NEW_SHARE = 0.3
_CAUTION = 0.9
_SAME = 0.002
"""Of what is learned, a change so small is not worth a transaction for each shard: an estimate
stays within a hundredth of what all of them show."""
# Whatever was seen: hardly a text has more tokens than bytes, and one with fewer than a
# token in six bytes says little of the next.
_BYTES_PER_TOKEN = (1.0, 6.0)
# The rules of a model that nobody has published may be far from those that stand in for them.
_MEDIA_FACTOR = (0.1, 10.0)

# A create whose end is unclear for so long: the next shard is the probe.
_PROBE_LOST_AFTER = timedelta(minutes=10)
_LOOK_AT_PROBE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Learned:
    """How the text and the media of a model's requests became tokens."""

    bytes_per_token: float = FIRST_BYTES_PER_TOKEN
    media_factor: float = 1.0

    def tokens(self, size: int, media: int = 0) -> int:
        """Estimate the prompt tokens of so many bytes of text in requests.

        `media`: what the images, recordings and files beside it come to by the provider's rules.
        """
        return max(1, round(size / self.bytes_per_token + media * self.media_factor))


@dataclass(frozen=True, slots=True)
class Quota:
    """What is known of one model at one provider."""

    limit: int | None
    """Tokens; None: no limit is known."""
    reach: int | None = None
    """What may be enqueued with a probe, if it is time for one; the limit otherwise."""
    bytes_per_token: float = FIRST_BYTES_PER_TOKEN
    media_factor: float = 1.0
    """Tokens of images, recordings and files, for each by the provider's rules."""
    stated: int | None = None
    """The limit that the latest refusal named, if a provider can have it."""
    learned_at: datetime | None = None
    """When a shard was refused last."""
    refused_alone: str = ""
    """Id of the shard that was refused last, if nothing else was enqueued."""

    def tokens(self, size: int, media: int = 0) -> int:
        """As Learned.tokens."""
        return Learned(self.bytes_per_token, self.media_factor).tokens(size, media)

    @property
    def piece_bytes(self) -> int:
        """Bytes of the shards that one beyond the reach is cut into; a limit is known."""
        assert self.limit is not None
        return int(probing.piece_of(self.limit) * self.bytes_per_token)


@dataclass(frozen=True, slots=True)
class OverQuota:
    """A shard does not fit under the limit yet, or it is another one's turn."""

    enqueued: int
    first: str | None
    """The shard whose turn it is; None when there is no room for any."""
    look_at: datetime | None = None
    """When a probe may go: set for the shard that is next."""


class Quotas:
    """Quotas by provider and the provider's model id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, provider: str, model: str, ceiling: int | None = None) -> Quota:
        """What is known now. `ceiling`: the operator's limit, above which nothing goes."""
        moment = now()
        async with self._database.read() as session:
            row = await session.get(TokenQuota, (provider, model))
            if row is None:
                return Quota(ceiling, ceiling)
            # Only in what is handed out: it is kept when a shard goes.
            await _end_probe(session, row, moment)
            session.expunge(row)
        return quota_of(row, ceiling, moment)

    async def learned(self, models: Collection[tuple[str, str]]) -> dict[tuple[str, str], Learned]:
        """By provider and the provider's model id, of models that anything was learned of."""
        names = sorted({model for _, model in models})
        found: dict[tuple[str, str], Learned] = {}
        async with self._database.read() as session:
            for start in range(0, len(names), _MODELS_AT_ONCE):
                some = names[start : start + _MODELS_AT_ONCE]
                rows = await session.exec(select(TokenQuota).where(col(TokenQuota.model).in_(some)))
                for row in rows:
                    learned = Learned(row.bytes_per_token, row.media_factor)
                    if (row.provider, row.model) in models and learned != Learned():
                        found[row.provider, row.model] = learned
        return found

    async def limits(self) -> dict[tuple[str, str], int]:
        """Limits that were learned, by provider and the provider's model id."""
        async with self._database.read() as session:
            found = await session.exec(
                select(TokenQuota).where(col(TokenQuota.limit_tokens).is_not(None))
            )
            return {(row.provider, row.model): row.limit_tokens or 0 for row in found}

    async def observe(
        self, provider: str, model: str, size: int, tokens: int, media: int = 0
    ) -> None:
        """Learn from a shard that has run: its bytes of text, and the tokens that were counted.

        `media`: what its images, recordings and files came to by the provider's rules. What text
        and media have in the tokens is not told apart: either is learned from what the other
        leaves, the more the larger its own share is. Most shards show nothing new: only that is
        written.
        """
        async with self._database.read() as session:
            known = await session.get(TokenQuota, (provider, model))
        if known is not None and not _differ(known, _learn(known, size, tokens, media)):
            return
        async with self._database.write(Failpoint.QUOTA_OBSERVE) as session:
            row = await _locked(session, self._database, provider, model)
            learned = _learn(row, size, tokens, media)
            row.bytes_per_token = learned.bytes_per_token
            row.media_factor = learned.media_factor
            session.add(row)

    async def refused(self, shard: Shard, stated: int | None) -> tuple[int | None, bool]:
        """Learn from a refusal for the limit.

        Gives the limit that now holds, and whether the shard was within what held before:
        a probe that is refused is none the worse for it.
        """
        moment = now()
        async with self._database.write(Failpoint.QUOTA_REFUSED) as session:
            row = await _locked(session, self._database, shard.provider, shard.remote_model)
            if row.probe_shard != shard.id:
                await _end_probe(session, row, moment)
            was_probe = row.probe_shard == shard.id
            mine = shard.tokens if shard.state in ENQUEUED else 0
            others = await enqueued_tokens(session, shard.provider, shard.remote_model) - mine
            accepted = await accepted_tokens(session, shard, moment)
            probing.refused(
                row,
                probing.Refusal(
                    shard_id=shard.id,
                    tokens=shard.tokens,
                    others=max(others, 0),
                    accepted=accepted,
                    stated=stated,
                    before=shard.token_refusals,
                ),
                moment,
            )
            session.add(row)
            return row.limit_tokens, not was_probe

    async def next_waiting(self, provider: str, model: str) -> Shard | None:
        """The shard whose turn it is when room appears."""
        async with self._database.read() as session:
            first = await first_waiting(session, provider, model)
            return await session.get(Shard, first) if first is not None else None


async def check_quota(
    session: AsyncSession,
    database: Database,
    shard: Shard,
    tokens: int,
    ceiling: int | None,
    *,
    goes: bool = False,
) -> OverQuota | None:
    """Whether a queued shard may go now: it fits or is a probe, and nobody fairer waits.

    Holds the quota's lock until the transaction ends, so that two shards never take the
    same room, nor probe at the same time. With nothing enqueued any shard may try.
    `goes`: what goes above the limit is noted as the probe.
    """
    moment = now()
    row = await _locked(session, database, shard.provider, shard.remote_model)
    await _end_probe(session, row, moment)
    limit = probing.limit_of(row, ceiling)
    if limit is None:
        return None
    taken = await enqueued_tokens(session, shard.provider, shard.remote_model)
    first = await first_waiting(session, shard.provider, shard.remote_model, also=shard.id)
    full = room_for(row, shard.id, taken, tokens, first, ceiling, moment)
    if full is not None:
        return full
    if goes and taken + tokens > limit and row.limit_tokens is not None:
        probing.probe(row, shard.id, taken + tokens)
    session.add(row)
    return None


def quota_of(row: TokenQuota, ceiling: int | None, moment: datetime) -> Quota:
    """What is known of a model whose probe has been looked at."""
    return Quota(
        limit=probing.limit_of(row, ceiling),
        reach=probing.reach_of(row, ceiling, moment),
        bytes_per_token=row.bytes_per_token,
        media_factor=row.media_factor,
        stated=probing.believed(row.stated_tokens),
        learned_at=row.learned_at,
        refused_alone=row.refused_alone,
    )


def room_for(
    row: TokenQuota,
    shard_id: str,
    taken: int,
    tokens: int,
    first: str | None,
    ceiling: int | None,
    moment: datetime,
) -> OverQuota | None:
    """Whether a shard of so many tokens may go beside those that are taken.

    `first`: the shard whose turn it is.
    """
    limit = probing.limit_of(row, ceiling)
    turn = first in (None, shard_id)
    if limit is not None and taken and taken + tokens > limit:
        reach = probing.reach_of(row, ceiling, moment)
        if not turn or reach is None or taken + tokens > reach:
            return OverQuota(taken, None, _look_at(row, ceiling, moment) if turn else None)
    return None if turn else OverQuota(taken, first)


def _look_at(row: TokenQuota, ceiling: int | None, moment: datetime) -> datetime | None:
    """When the shard that is next may go as a probe, if that can be."""
    if row.limit_tokens is None or (ceiling is not None and row.limit_tokens >= ceiling):
        return None
    soon = moment + _LOOK_AT_PROBE
    return soon if row.probe_shard or row.probe_at is None else max(row.probe_at, soon)


async def _end_probe(session: AsyncSession, row: TokenQuota, moment: datetime) -> None:
    """Look how the probe has ended, if it has. A refusal has been told (`Quotas.refused`)."""
    if not row.probe_shard:
        return
    end_probe(row, await session.get(Shard, row.probe_shard, populate_existing=True), moment)


def end_probe(row: TokenQuota, shard: Shard | None, moment: datetime) -> None:
    """Conclude from the shard that was the probe how that has ended, if it has."""
    state = ShardState.SETTLED if shard is None else shard.state
    if shard is not None and (shard.ended_at is not None or is_accepted(shard, moment)):
        probing.passed(row, moment)
    elif state not in ENQUEUED or (
        shard is not None
        and state == ShardState.SUBMITTING
        and shard.intended_at is not None
        and moment - shard.intended_at > _PROBE_LOST_AFTER
    ):
        probing.void(row, moment)


def _bounded(learned: float, bounds: tuple[float, float]) -> float:
    low, high = bounds
    return min(max(learned, low), high)


def _learn(row: TokenQuota, size: int, tokens: int, media: int) -> Learned:
    """What is known once a shard has run; arguments as of `Quotas.observe`."""
    text, shown = size / row.bytes_per_token, media * row.media_factor
    share = shown / (text + shown) if shown else 0.0
    seen = _bounded(_CAUTION * size / max(tokens - shown, 1.0), _BYTES_PER_TOKEN)
    media_factor = row.media_factor
    if media:
        factor = _bounded((tokens - text) / (_CAUTION * media), _MEDIA_FACTOR)
        media_factor += _NEW_SHARE * share * (factor - media_factor)
    return Learned(
        row.bytes_per_token + _NEW_SHARE * (1 - share) * (seen - row.bytes_per_token),
        media_factor,
    )


def _differ(row: TokenQuota, learned: Learned) -> bool:
    return not (
        isclose(row.bytes_per_token, learned.bytes_per_token, rel_tol=_SAME)
        and isclose(row.media_factor, learned.media_factor, rel_tol=_SAME)
    )


async def _locked(
    session: AsyncSession, database: Database, provider: str, model: str
) -> TokenQuota:
    # The lock's name is older than this module's: replicas of both versions have to meet in it.
    await database.lock_name(session, "budget", provider, model)
    row = await session.get(TokenQuota, (provider, model))
    if row is None:
        row = TokenQuota(provider=provider, model=model)
        session.add(row)
        await session.flush()
    return row
