"""Attempts to submit a shard: intended, dispatched, and what came of them.

    intend --> mark_dispatched --> submitted
      |              |-----------> requeue (refused for now, or surely absent)
      |              |-----------> mark_outcome_unknown (in doubt: stays SUBMITTING)
      |--> revert_to_queued (never dispatched)

Each is for the token of one attempt, and says Stale (or False) where that is over: "From QUEUED to
SUBMITTED" in docs/architecture.md has who calls which, and what a crash between two of them leaves.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from core.failpoints import Failpoint
from core.ledger.funds import NoFunds, cover
from core.ledger.pauses import waits_for_canary
from core.ledger.progress import advance
from core.ledger.quotas import OverQuota, check_quota
from core.ledger.states import ShardPurpose, ShardState, Stale, Stop
from core.ledger.stop_loss import Figures, OverMaxCost, check_max_cost
from core.ledger.tables import Batch, Shard, now
from core.ledger.transitions import Held, ShardTransitions

# Enough for the pauses to have come to their longest. Beyond it, an outage of hours would
# look like a shard that is refused for its own lines.
_COUNTED_ATTEMPTS = 7
_UNKNOWN = Figures()


class Attempts(ShardTransitions):
    """What a dispatcher does with a shard. Each transition says Stale where it was overtaken."""

    async def intend(
        self,
        shard_id: str,
        *,
        token: str,
        remote_model: str,
        sent_lines: int,
        sent_bytes: int,
        sent_sha256: str,
        rejects_prefix: str,
        credential: str,
        lease: timedelta,
        tokens: int = 0,
        limited: bool = False,
        ceiling: int | None = None,
        file_token: str = "",
        expected_nanos: int = 0,
        at_most_nanos: int = 0,
    ) -> Shard | Stale | Held | OverQuota | OverMaxCost | NoFunds:
        """QUEUED -> SUBMITTING: the durable intent, before the first byte leaves.

        `expected_nanos`, `at_most_nanos`: what its lines will cost, where anything limits that.
        `file_token`: of the upload that is to be sent again; empty: there will be a new one.
        `tokens`: estimated prompt tokens; `limited`: a limit of what may be enqueued for
        the model is known; `ceiling`: the operator's. Stale when somebody else has the
        shard or its batch is stopping; Held while it may not go; OverQuota when it does not fit
        under the limit or it is another one's turn; OverMaxCost when it could bring its batch
        past its `max_cost`; NoFunds when its batch holds too little for it and there is no more.
        """
        moment = now()
        async with self._locked(Failpoint.SHARD_INTEND, shard_id) as (session, batch, shard):
            if shard is None or batch.stop != Stop.NONE or shard.state != ShardState.QUEUED:
                return Stale(shard_id)
            if shard.purpose == ShardPurpose.RESCUE:
                # Its lines are called one by one since.
                return Stale(shard_id)
            if batch.paused_at is not None or batch.halt_code or waits_for_canary(batch, shard):
                return Held()
            uploads: dict[str, Any] = {}
            if not file_token:
                # What lies there under another name is found by the shard's.
                orphans = shard.stray_uploads or bool(shard.remote_file_id)
                uploads = {
                    "file_token": token,
                    "remote_file_id": "",
                    "uploaded_at": None,
                    "stray_uploads": orphans,
                }
            elif shard.file_token != file_token or not shard.remote_file_id:
                return Stale(shard_id)
            over = await check_max_cost(session, batch, at_most_nanos)
            if over is not None:
                return over
            if limited:
                full = await check_quota(session, self._database, shard, tokens, ceiling, goes=True)
                if full is not None:
                    return full
            lacking = await cover(session, batch, shard, expected_nanos, token)
            if lacking is not None:
                # With what was noted of a probe: it does not go.
                await session.rollback()
                return lacking
            # By the shared clock, as when it is let go: it is looked for from then on.
            intended_at = moment - await self._database.clock_ahead(session)
            moved = await self._move(
                session,
                shard,
                (ShardState.QUEUED,),
                let_go=True,
                held=shard,
                state=ShardState.SUBMITTING,
                token=token,
                attempts=shard.attempts + 1,
                remote_model=remote_model,
                intended_at=intended_at,
                no_inflight_since=None,
                dispatched_at=None,
                credential=credential,
                sent_lines=sent_lines,
                sent_bytes=sent_bytes,
                sent_sha256=sent_sha256,
                rejects_prefix=rejects_prefix,
                tokens=tokens,
                expected_nanos=expected_nanos,
                at_most_nanos=at_most_nanos,
                waits_for_quota=False,
                waits_for_funds=False,
                waiting_reason="",
                due_at=moment + lease,
                **uploads,
            )
            if not moved:
                # With what was reserved for it. Its batch is locked: it can only be the provider.
                await session.rollback()
                return Held()
            await advance(session, batch)
            return shard

    async def mark_dispatched(
        self, shard: Shard, lease: timedelta, *, remote_file_id: str = "", orphans: bool = False
    ) -> bool | Held:
        """Let the attempt's create go: the last thing before its first byte leaves.

        What was uploaded for it is noted with it: whoever goes on after a crash knows it.
        False when the attempt is no longer ours, or was dispatched before: then nothing may
        be sent; Held when it is ours and may not go now. Whoever takes an attempt back
        (`revert_to_queued`) and whoever lets it go meet in the same row, so no clock and no
        stalled process can make them both right.
        """
        moment = now()
        async with self._database.write(Failpoint.SHARD_DISPATCHED) as session:
            # By the shared clock: another replica will tell by it how long ago this was.
            dispatched_at = moment - await self._database.clock_ahead(session)
            moved = await self._move(
                session,
                shard,
                (ShardState.SUBMITTING,),
                unsent=True,
                let_go=True,
                dispatched_at=dispatched_at,
                due_at=moment + lease,
                uploaded_id=remote_file_id,
                **_noted(orphans),
            )
            if moved:
                return True
            fresh = await session.get(Shard, shard.id, populate_existing=True)
            ours = (
                fresh is not None
                and fresh.state == ShardState.SUBMITTING
                and fresh.token == shard.token
                and fresh.dispatched_at is None
            )
            return Held() if ours else False

    async def revert_to_queued(self, shard: Shard) -> Batch | Stale:
        """SUBMITTING -> QUEUED for an attempt whose create was never dispatched.

        It may have uploaded its input, unless it was to use an earlier one's.
        """
        return await self._transition(
            Failpoint.SHARD_REVERT,
            shard,
            (ShardState.SUBMITTING,),
            unsent=True,
            state=ShardState.QUEUED,
            # As long as nothing was dispatched, neither changes within one attempt.
            stray_uploads=shard.stray_uploads or shard.file_token == shard.token,
            waiting_reason="",
            due_at=now(),
        )

    async def renew_lease(self, shard: Shard, lease: timedelta) -> bool:
        """Renew the lease of a shard that is being submitted or fetched, without a new revision.

        False when it was lost, or is past that.
        """
        states = (ShardState.SUBMITTING, ShardState.FETCHING)
        async with self._database.write(Failpoint.SHARD_RENEW) as session:
            return await self._move(session, shard, states, due_at=now() + lease)

    async def submitted(
        self, shard: Shard, remote_id: str, remote_file_id: str, poll_at: datetime
    ) -> Batch | Stale:
        """SUBMITTING -> SUBMITTED: the provider has the batch of this token.

        `remote_file_id`: empty where it does not say; what was noted then stays.
        """
        return await self._transition(
            Failpoint.SHARD_SUBMITTED,
            shard,
            (ShardState.SUBMITTING,),
            state=ShardState.SUBMITTED,
            remote_id=remote_id,
            uploaded_id=remote_file_id,
            submitted_at=now(),
            waiting_reason="",
            due_at=poll_at,
        )

    async def mark_outcome_unknown(
        self, shard: Shard, reason: str, until: datetime, *, quiet: bool = False
    ) -> Batch | Stale:
        """Stay SUBMITTING: it cannot be told yet whether the provider has the batch.

        `quiet`: no call of the attempt is under way any more.
        """
        quiet_since = shard.no_inflight_since
        if quiet and quiet_since is None:
            async with self._database.read() as session:
                quiet_since = now() - await self._database.clock_ahead(session)
        return await self._transition(
            Failpoint.SHARD_OUTCOME_UNKNOWN,
            shard,
            (ShardState.SUBMITTING,),
            waiting_reason=reason,
            due_at=until,
            no_inflight_since=quiet_since,
        )

    async def has_quota(self, shard: Shard, tokens: int, ceiling: int | None) -> OverQuota | None:
        """Whether a queued shard could go now; `intend` decides."""
        async with self._database.write(Failpoint.SHARD_QUOTA) as session:
            return await check_quota(session, self._database, shard, tokens, ceiling)

    async def wait_for_quota(
        self, shard: Shard, reason: str, until: datetime, figures: Figures = _UNKNOWN
    ) -> Batch | Stale | None:
        """Stay QUEUED until there is quota; `until`: when to look again at the latest.

        `figures`: kept for the next attempt. Returns the batch when this is news to its
        watchers, None otherwise.
        """
        changes: dict[str, Any] = {
            "waits_for_quota": True,
            "waits_for_funds": False,
            "waiting_reason": reason,
            "due_at": until,
        }
        if figures.at_most_nanos:
            changes |= figures._asdict()
        if shard.waits_for_quota and shard.waiting_reason == reason:
            async with self._database.write(Failpoint.SHARD_WAIT) as session:
                moved = await self._move(session, shard, (ShardState.QUEUED,), **changes)
                return None if moved else Stale(shard.id)
        return await self._transition(Failpoint.SHARD_WAIT, shard, (ShardState.QUEUED,), **changes)

    async def requeue(
        self,
        shard: Shard,
        reason: str,
        until: datetime,
        *,
        over_limit: bool = False,
        remote_file_id: str = "",
        orphans: bool = False,
        input_lost: bool = False,
    ) -> Batch | Stale:
        """Back to QUEUED, from the state in which it was read: surely nothing was created, or all
        of it was refused for now.

        What was uploaded is kept for the next attempt. `over_limit`: it was refused for the
        provider's enqueued-token limit. `remote_file_id`, `orphans`: of what was uploaded, if
        its create was not dispatched with it. `input_lost`: it is of no use any more.
        """
        uploads = {"uploaded_id": remote_file_id, **_noted(orphans)}
        if input_lost:
            # It cannot be used, but may still exist: the clean-up finds it by its name.
            uploads = {"remote_file_id": "", "uploaded_at": None, "stray_uploads": True}
        return await self._transition(
            Failpoint.SHARD_REQUEUE,
            shard,
            # Of two that ask what became of one attempt, one may have adopted its batch by now,
            # and the other then finds none that is not known.
            (ShardState(shard.state),),
            awaited=True,
            state=ShardState.QUEUED,
            attempts=min(shard.attempts, _COUNTED_ATTEMPTS),
            token_refusals=shard.token_refusals + 1 if over_limit else 0,
            waits_for_quota=False,
            waits_for_funds=False,
            remote_id="",
            remote_status="",
            finished=0,
            waiting_reason=reason,
            due_at=until,
            **uploads,
        )


def _noted(orphans: bool) -> dict[str, Any]:
    return {"stray_uploads": True} if orphans else {}
