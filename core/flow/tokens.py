"""The enqueued-token limit: shards are cut to fit, wait for room, and go in fair order."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from core.bus import Step
from core.flow.backbone import Backbone
from core.ledger import NoRoom, Shard
from core.providers import Refused

log = structlog.get_logger()

_LEARNED_PAUSE = 1.0
_LONGEST_REFUSED_PAUSE = 40
CODE = "token_limit_exceeded"
# So that one shard can run while the next is being checked.
_SHARD_SHARE = 0.5
# Refused so often though it should have fitted: the estimate must be too low.
_REFUSALS_BEFORE_HALVING = 2


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a shard may ask for."""

    limit: int | None
    """Tokens that may be enqueued for its model; None: no limit is known."""
    tokens: int
    """Its own, estimated."""
    fitting: int
    """How many of its lines may go in one batch; all of them when it need not be cut."""


class TokenBudgets:
    """The limit as the dispatcher and the collector see it."""

    def __init__(self, backbone: Backbone) -> None:
        self._ledger = backbone.ledger
        self._announcer = backbone.announcer
        self._settings = backbone.settings

    async def allowance(self, shard: Shard) -> Allowance:
        """What holds for a queued shard now."""
        budget = await self._ledger.budgets.of(shard.provider, shard.remote_model)
        limit = self._settings.enqueued_token_limit(shard.provider, shard.remote_model)
        if limit is None:
            limit = budget.limit
        tokens = budget.tokens(shard.byte_count)
        fitting = shard.line_count
        if limit is not None:
            if tokens > limit:
                fitting = int(shard.line_count * limit * _SHARD_SHARE / tokens)
            elif shard.token_refusals >= _REFUSALS_BEFORE_HALVING:
                fitting = shard.line_count // 2
        return Allowance(limit, tokens, max(fitting, 1))

    async def full(self, shard: Shard, allowance: Allowance) -> NoRoom | None:
        """Why the shard cannot go now; None if it can try."""
        if allowance.limit is None:
            return None
        return await self._ledger.shards.has_room(shard, allowance.tokens, allowance.limit)

    async def learn(self, shard: Shard, refusal: Refused) -> bool:
        """Take in a refusal. True when it was for the limit."""
        if refusal.code != CODE:
            return False
        limit = await self._ledger.budgets.refused(shard, refusal.enqueued_token_limit)
        log.info(
            "token_limit_learned",
            provider=shard.provider,
            model=shard.remote_model,
            limit=limit,
            stated=refusal.enqueued_token_limit is not None,
        )
        return True

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
        doubled = min(2.0 ** min(before, 10), _LONGEST_REFUSED_PAUSE)
        return self._settings.refused_pause * doubled

    async def observe(self, shard: Shard, input_tokens: int) -> None:
        """Take in what a shard that ran really had."""
        if input_tokens > 0 and shard.sent_lines:
            await self._ledger.budgets.observe(
                shard.provider, shard.remote_model, shard.byte_count, input_tokens
            )

    async def wake_next(self, provider: str, model: str) -> None:
        """Room may have appeared: wake the shard whose turn it is."""
        waiting = await self._ledger.budgets.next_waiting(provider, model)
        if waiting is not None:
            await self._announcer.wake(Step.SUBMIT, waiting.batch_id, waiting.id)
