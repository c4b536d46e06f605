"""The enqueued-token limit: shards are cut to fit, wait for quota, and go in fair order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import structlog

from core.backoff import backoff
from core.bus import Step
from core.ledger import TOKEN_FLOOR, OverQuota, Quota, Shard, now
from core.pipeline.runtime import Runtime
from core.providers import Refused

log = structlog.get_logger()

_LEARNED_PAUSE = 1.0
_LONGEST_REFUSED_PAUSE = 40
CODE = "token_limit_exceeded"
# Bytes of text. With so many for each token, an estimate is rather too low than too high.
_BYTES_PER_TOKEN_AT_MOST = 10
# What a provider has said of its limit may be otherwise a few minutes later.
_STATED_HOLDS = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a shard may ask for."""

    quota: Quota
    ceiling: int | None
    """The limit that the operator has set."""
    tokens: int
    """The shard's own, estimated."""
    piece_bytes: int | None = None
    """Set for a shard that has to be cut: the bytes of text that may go in one batch."""

    @property
    def limit(self) -> int | None:
        """Tokens that may be enqueued for its model; None: no limit is known."""
        return self.quota.limit

    @property
    def asked(self) -> int:
        """Tokens of the part that may be sent now."""
        if self.piece_bytes is None:
            return self.tokens
        return min(self.tokens, self.quota.tokens(self.piece_bytes))


class TokenQuotas:
    """The limit as the dispatcher and the collector see it."""

    def __init__(self, runtime: Runtime) -> None:
        self._ledger = runtime.ledger
        self._publisher = runtime.publisher
        self._settings = runtime.settings

    async def allowance(self, shard: Shard) -> Allowance:
        """What holds for a queued shard now."""
        ceiling = self._settings.enqueued_token_limit(shard.provider, shard.remote_model)
        quota = await self._ledger.quotas.of(shard.provider, shard.remote_model, ceiling)
        tokens = quota.tokens(shard.text_bytes, shard.media_tokens)
        too_large = quota.reach is not None and tokens > quota.reach and shard.line_count > 1
        return Allowance(quota, ceiling, tokens, quota.piece_bytes if too_large else None)

    async def full(self, shard: Shard, allowance: Allowance) -> OverQuota | None:
        """Why the shard, or a piece of it, cannot go now; None if it can try."""
        if allowance.limit is None:
            return None
        return await self._ledger.shards.has_quota(shard, allowance.asked, allowance.ceiling)

    async def learn(self, shard: Shard, refusal: Refused) -> bool:
        """Take in a refusal. True when it was for the limit, and the shard should have fitted."""
        if refusal.code != CODE:
            return False
        limit, within = await self._ledger.quotas.refused(shard, refusal.enqueued_token_limit)
        log.info(
            "token_limit_learned",
            provider=shard.provider,
            model=shard.remote_model,
            limit=limit,
            stated=refusal.enqueued_token_limit,
            probe=not within,
        )
        return within

    def pause(self, shard: Shard, refusal: Refused) -> float:
        """Seconds to wait after a refusal that will pass."""
        if refusal.retry_after is not None:
            return refusal.retry_after
        before = shard.attempts - 1
        if refusal.code == CODE:
            if not shard.token_refusals:
                # More is known from now on: the next attempt is another one.
                return _LEARNED_PAUSE
            before = shard.token_refusals - 1
        pause = self._settings.refused_pause
        return backoff(pause, before + 1, pause * _LONGEST_REFUSED_PAUSE)

    async def observe(self, shard: Shard, input_tokens: int) -> None:
        """Take in what a shard that ran really had."""
        if input_tokens > 0 and shard.sent_lines:
            await self._ledger.quotas.observe(
                shard.provider,
                shard.remote_model,
                shard.text_bytes,
                input_tokens,
                shard.media_tokens,
            )

    async def enqueue_next(self, provider: str, model: str) -> None:
        """Quota may have appeared: enqueue the shard whose turn it is."""
        waiting = await self._ledger.quotas.next_waiting(provider, model)
        if waiting is not None:
            await self._publisher.enqueue(Step.SUBMIT, waiting.batch_id, waiting.id)


def surely_over(size: int, allowance: Allowance) -> int | None:
    """The limit that so many bytes of a line's text are over, whatever the estimate is worth.

    Only a limit that somebody has set or just named counts: what is guessed may be wrong.
    """
    quota = allowance.quota
    named = [] if allowance.ceiling is None else [allowance.ceiling]
    fresh = quota.learned_at is not None and now() - quota.learned_at < _STATED_HOLDS
    # A limit that is hardly one may be a mistake: then the line is sent, to see.
    if quota.stated is not None and fresh and quota.stated >= TOKEN_FLOOR:
        named.append(quota.stated)
    return next((limit for limit in sorted(named) if size > limit * _BYTES_PER_TOKEN_AT_MOST), None)


def refused_for_itself(shard: Shard, tokens: int, allowance: Allowance) -> int | None:
    """The limit for which the provider has refused a shard of one line that was there alone.

    `tokens`: of the line, estimated.
    """
    quota = allowance.quota
    if shard.line_count != 1 or not shard.attempts or quota.refused_alone != shard.id:
        return None
    limit = quota.stated if quota.stated is not None else allowance.ceiling
    return limit if limit is not None and tokens > limit else None
