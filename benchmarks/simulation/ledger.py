"""The ledger in memory: the transitions that the submit and the poll step make, without SQL.

What is decided in SQL in the product is decided here by the same pure functions where there are
(core.ledger.probing, core.ledger.quotas.room_for, core.ledger.turns.longest_unserved); only the
orders of its queries are written again. One process, one loop: nothing is locked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from core.ledger import Batch, File, InFlight, ProviderLoad, Shard, ShardState, Stale, now, probing
from core.ledger.durations import Expected
from core.ledger.enqueued import ENQUEUED, is_accepted
from core.ledger.quotas import OverQuota, Quota, end_probe, quota_of, room_for
from core.ledger.shards import Settlement
from core.ledger.tables import TokenQuota
from core.ledger.turns import QueuedShard, longest_unserved, with_least

_NEW_SHARE = 0.2
_COUNTED_ATTEMPTS = 7
_COLUMNS = tuple(Shard.model_fields)


class Row(SimpleNamespace):
    """A shard's row, or a copy of it: no session watches it, so it is quick."""

    text_bytes = Shard.__dict__["text_bytes"]
    lines_key = Shard.__dict__["lines_key"]
    given_up = Shard.__dict__["given_up"]
    held = Shard.__dict__["held"]
    successor = Shard.__dict__["successor"]

    @classmethod
    def of(cls, shard: Shard) -> Row:
        """The row of a shard that was just made."""
        return cls(**{name: getattr(shard, name) for name in _COLUMNS})

    def copy(self) -> Shard:
        """As it is now."""
        return cast(Shard, Row(**vars(self)))


class MemoryLedger:
    """All repositories in one: `ledger.shards.get` is `get`."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.batch_rows: dict[str, Batch] = {}
        self.file_rows: dict[str, File] = {}
        self.transactions: Counter[str] = Counter()
        """That would write, by transition."""
        self.served: dict[tuple[str, str], datetime] = {}
        """By account and provider."""
        self._at_provider: dict[str, dict[str, Row]] = defaultdict(dict)
        """SUBMITTED, by provider."""
        self._sent: dict[str, dict[str, Row]] = defaultdict(dict)
        """Of each provider, those that were ever on their way to it."""
        self._queued: dict[str, Row] = {}
        self._enqueued: dict[tuple[str, str], dict[str, Row]] = defaultdict(dict)
        """By provider and its model."""
        self._quotas: dict[tuple[str, str], TokenQuota] = {}
        self._durations: dict[tuple[str, str], Expected] = {}
        # Money, pauses, keys and left-over files do not come up: they find nothing to do.
        self.shards = self.turns = self.list_polls = self.quotas = self.durations = self
        self.batches, self.files = _Batches(self), _Files(self)
        self.pauses, self.stop_loss, self.funds = _Pauses(), _StopLoss(), _Funds()
        self.remote_files, self.lending, self.keys = _RemoteFiles(), _Lending(), _TriedKeys()

    # Rows.

    async def end_hung(self) -> int:
        """Nobody hangs."""
        return 0

    async def clock_ahead(self) -> timedelta:
        """There is one clock."""
        return timedelta()

    async def get(self, shard_id: str) -> Shard | None:
        row = self.rows.get(shard_id)
        return row.copy() if row is not None else None

    def add(self, shards: Sequence[Shard]) -> None:
        """Take in what was planned or cut."""
        for shard in shards:
            row = self.rows[shard.id] = Row.of(shard)
            self._index(row)

    def _move(self, shard: Shard, states: Collection[ShardState], **changes: Any) -> Row | None:
        """As ShardTransitions: nothing where the shard is not as it was read."""
        row = self.rows[shard.id]
        if row.state not in states or row.token != shard.token:
            return None
        before = row.state
        vars(row).update(changes)
        if row.state != before or "tokens" in changes:
            self._index(row)
        return row

    def _index(self, row: Row) -> None:
        for state, index in (
            ((ShardState.QUEUED,), self._queued),
            ((ShardState.SUBMITTED,), self._at_provider[row.provider]),
            (ENQUEUED, self._enqueued[row.provider, row.remote_model]),
        ):
            if row.state in state:
                index[row.id] = row
            else:
                index.pop(row.id, None)

    def _transition(
        self, name: str, shard: Shard, states: Collection[ShardState], **changes: Any
    ) -> Batch | Stale:
        self.transactions[name] += 1
        moved = self._move(shard, states, **changes)
        return Stale(shard.id) if moved is None else self.batch_rows[shard.batch_id]

    # Submitting (core.ledger.attempts).

    async def queued(self, providers: Collection[str], of_account: int) -> list[QueuedShard]:
        """As Turns."""
        moment, of_each = now(), defaultdict(list)
        for row in self._queued.values():
            if not row.waiting_reason and not row.waits_for_quota and row.due_at <= moment:
                of_each[row.account_id].append(row)
        found = []
        for rows in of_each.values():
            rows.sort(key=lambda row: (-row.priority, row.created_at, row.ordinal))
            found += [
                QueuedShard(
                    *(row.id, row.batch_id, row.account_id),
                    *(row.priority, row.created_at, row.ordinal),
                )
                for row in rows[:of_account]
            ]
        return found

    async def has_quota(self, shard: Shard, tokens: int, ceiling: int | None) -> OverQuota | None:
        self.transactions["has_quota"] += 1
        return self._room(shard, tokens, ceiling)

    def _room(
        self, shard: Shard, tokens: int, ceiling: int | None, *, goes: bool = False
    ) -> OverQuota | None:
        moment, key = now(), (shard.provider, shard.remote_model)
        row = self._quota(key)
        limit = probing.limit_of(row, ceiling)
        if limit is None:
            return None
        taken = self._taken(key)
        first = self._first_waiting(key, also=shard.id)
        full = room_for(row, shard.id, taken, tokens, first, ceiling, moment)
        if full is None and goes and taken + tokens > limit and row.limit_tokens is not None:
            probing.probe(row, shard.id, taken + tokens)
        return full

    def _taken(self, key: tuple[str, str]) -> int:
        return sum(row.tokens for row in self._enqueued[key].values())

    def _quota(self, key: tuple[str, str]) -> TokenQuota:
        row = self._quotas.get(key)
        if row is None:
            row = self._quotas[key] = TokenQuota(provider=key[0], model=key[1])
        if row.probe_shard:
            end_probe(row, cast(Shard, self.rows.get(row.probe_shard)), now())
        return row

    def _first_waiting(self, key: tuple[str, str], also: str = "") -> str | None:
        """As core.ledger.enqueued.first_waiting."""
        accounts: Counter[str] = Counter()
        batches: Counter[str] = Counter()
        for row in self._enqueued[key].values():
            accounts[row.account_id] += row.tokens
            batches[row.batch_id] += row.tokens
        waiting: dict[str, list[Row]] = defaultdict(list)
        for row in self._queued.values():
            if (row.provider, row.remote_model) == key and (row.waits_for_quota or row.id == also):
                waiting[row.account_id].append(row)
        least = with_least(
            [
                (account, accounts[account], min(row.created_at for row in rows))
                for account, rows in waiting.items()
            ]
        )
        if not least:
            return None
        served = {
            account: self.served[account, key[0]]
            for account in least
            if (account, key[0]) in self.served
        }
        rows = waiting[longest_unserved(least, served)]
        first = min(
            rows,
            key=lambda row: (-row.priority, batches[row.batch_id], row.created_at, row.ordinal),
        )
        return cast(str, first.id)

    async def intend(self, shard_id: str, **values: Any) -> Shard | Stale | OverQuota:
        self.transactions["intend"] += 1
        row = self.rows[shard_id]
        if row.state != ShardState.QUEUED:
            return Stale(shard_id)
        if values["limited"]:
            full = self._room(row.copy(), values["tokens"], values["ceiling"], goes=True)
            if full is not None:
                return full
        file_token = values.get("file_token") or values["token"]
        if file_token == values["token"]:
            row.remote_file_id, row.uploaded_at = "", None
        kept = ("token", "remote_model", "credential", "sent_lines", "sent_bytes", "sent_sha256")
        moment = now()
        self._move(
            row.copy(),
            (ShardState.QUEUED,),
            state=ShardState.SUBMITTING,
            tokens=values["tokens"],
            attempts=row.attempts + 1,
            file_token=file_token,
            intended_at=moment,
            no_inflight_since=None,
            dispatched_at=None,
            waits_for_quota=False,
            waiting_reason="",
            due_at=moment + values["lease"],
            **{name: values[name] for name in kept},
        )
        self.served[row.account_id, row.provider] = moment
        self._sent[row.provider][row.id] = row
        return row.copy()

    async def mark_dispatched(
        self, shard: Shard, lease: timedelta, *, remote_file_id: str = "", orphans: bool = False
    ) -> bool:
        self.transactions["mark_dispatched"] += 1
        if self.rows[shard.id].dispatched_at is not None:
            return False
        changes: dict[str, Any] = {"dispatched_at": now(), "due_at": now() + lease}
        if remote_file_id:
            changes |= {"remote_file_id": remote_file_id, "uploaded_at": now()}
        return self._move(shard, (ShardState.SUBMITTING,), **changes) is not None

    async def renew_lease(self, shard: Shard, lease: timedelta) -> bool:
        self.transactions["renew_lease"] += 1
        states = (ShardState.SUBMITTING, ShardState.FETCHING)
        return self._move(shard, states, due_at=now() + lease) is not None

    async def submitted(
        self, shard: Shard, remote_id: str, remote_file_id: str, poll_at: datetime
    ) -> Batch | Stale:
        return self._transition(
            "submitted",
            shard,
            (ShardState.SUBMITTING,),
            state=ShardState.SUBMITTED,
            remote_id=remote_id,
            submitted_at=now(),
            waiting_reason="",
            due_at=poll_at,
        )

    async def mark_outcome_unknown(
        self, shard: Shard, reason: str, until: datetime, *, quiet: bool = False
    ) -> Batch | Stale:
        return self._transition(
            "mark_outcome_unknown",
            shard,
            (ShardState.SUBMITTING,),
            waiting_reason=reason,
            due_at=until,
            no_inflight_since=shard.no_inflight_since or (now() if quiet else None),
        )

    async def revert_to_queued(self, shard: Shard) -> Batch | Stale:
        return self._transition(
            "revert_to_queued",
            shard,
            (ShardState.SUBMITTING,),
            state=ShardState.QUEUED,
            waiting_reason="",
            due_at=now(),
        )

    async def remote_ids(self, provider: str, since: datetime) -> frozenset[str]:
        return frozenset(
            row.remote_id
            for row in self._sent[provider].values()
            if row.remote_id and row.intended_at >= since
        )

    async def wait_for_quota(
        self, shard: Shard, reason: str, until: datetime, _figures: object = None
    ) -> Batch | Stale | None:
        known = shard.waits_for_quota and shard.waiting_reason == reason
        batch = self._transition(
            "wait_for_quota",
            shard,
            (ShardState.QUEUED,),
            waits_for_quota=True,
            waiting_reason=reason,
            due_at=until,
        )
        return None if known and isinstance(batch, Batch) else batch

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
        changes: dict[str, Any] = {}
        if remote_file_id:
            changes = {"remote_file_id": remote_file_id, "uploaded_at": now()}
        if input_lost:
            changes = {"remote_file_id": "", "uploaded_at": None}
        return self._transition(
            "requeue",
            shard,
            (ShardState.QUEUED, ShardState.SUBMITTING, ShardState.SUBMITTED),
            state=ShardState.QUEUED,
            attempts=min(shard.attempts, _COUNTED_ATTEMPTS),
            token_refusals=shard.token_refusals + 1 if over_limit else 0,
            waits_for_quota=False,
            remote_id="",
            remote_status="",
            finished=0,
            waiting_reason=reason,
            due_at=until,
            **changes,
        )

    # Quotas and durations.

    async def of(self, provider: str, model: str, *ceiling: int | None) -> Any:
        """As Quotas with a ceiling, as Durations without one."""
        if not ceiling:
            return self._durations.get((provider, model))
        if (provider, model) not in self._quotas:
            return Quota(ceiling[0], ceiling[0])
        return quota_of(self._quota((provider, model)), ceiling[0], now())

    async def refused(self, shard: Shard, stated: int | None) -> tuple[int | None, bool]:
        self.transactions["quota_refused"] += 1
        moment, key = now(), (shard.provider, shard.remote_model)
        row = self._quotas.setdefault(key, TokenQuota(provider=key[0], model=key[1]))
        if row.probe_shard and row.probe_shard != shard.id:
            end_probe(row, cast(Shard, self.rows.get(row.probe_shard)), moment)
        was_probe = row.probe_shard == shard.id
        mine = shard.tokens if shard.state in ENQUEUED else 0
        accepted = sum(
            other.tokens
            for other in self._enqueued[key].values()
            if other.id != shard.id and is_accepted(cast(Shard, other), moment)
        )
        probing.refused(
            row,
            probing.Refusal(
                shard_id=shard.id,
                tokens=shard.tokens,
                others=max(self._taken(key) - mine, 0),
                accepted=accepted,
                stated=stated,
                before=shard.token_refusals,
            ),
            moment,
        )
        return row.limit_tokens, not was_probe

    async def next_waiting(self, provider: str, model: str) -> Shard | None:
        first = self._first_waiting((provider, model))
        return self.rows[first].copy() if first is not None else None

    # Polling (core.ledger.shards, core.ledger.list_polls).

    async def load(
        self, provider: str, _credentials: Collection[str], moment: datetime, soon: datetime
    ) -> ProviderLoad:
        rows = self._at_provider[provider].values()
        later = Counter(row.due_at for row in rows if moment < row.due_at <= soon)
        due = sum(row.due_at <= moment for row in rows)
        return ProviderLoad(len(rows), due, max(later.values(), default=0))

    async def claim(
        self, shard: Shard, _credentials: Collection[str], until: datetime, limit: int
    ) -> list[InFlight] | None:
        self.transactions["claim_polls"] += 1
        if self.rows[shard.id].due_at != shard.due_at:
            return None
        rows = sorted(self._at_provider[shard.provider].values(), key=lambda r: (r.due_at, r.id))
        claimed = [InFlight(*(getattr(row, f) for f in InFlight._fields)) for row in rows[:limit]]
        for row in rows[:limit]:
            row.due_at = until
        return claimed

    async def put_off(self, due: Mapping[str, datetime], claimed: datetime) -> None:
        self.transactions["put_off"] += 1
        for shard_id, moment in due.items():
            row = self.rows[shard_id]
            if row.state == ShardState.SUBMITTED and row.due_at == claimed:
                row.due_at = moment

    async def polled(
        self, shard: Shard, status: str, finished: int, next_poll: datetime
    ) -> Batch | Stale | None:
        finished = max(shard.finished, min(finished, shard.line_count))
        if (finished, status, "") == (shard.finished, shard.remote_status, shard.waiting_reason):
            return None if await self.postpone(shard, next_poll) else Stale(shard.id)
        return self._transition(
            "polled",
            shard,
            (ShardState.SUBMITTED,),
            remote_status=status,
            finished=finished,
            waiting_reason="",
            due_at=next_poll,
        )

    async def postpone(self, shard: Shard, due_at: datetime) -> bool:
        self.transactions["postpone"] += 1
        states = (ShardState.QUEUED, ShardState.SUBMITTED)
        return self._move(shard, states, due_at=due_at) is not None

    async def unreachable(self, shard: Shard, reason: str, next_try: datetime) -> Batch | Stale:
        return self._transition(
            "unreachable",
            shard,
            (ShardState.QUEUED, ShardState.SUBMITTED, ShardState.FETCHING),
            waits_for_quota=False,
            waiting_reason=reason,
            due_at=next_try,
        )

    async def fetching(
        self, shard: Shard, status: str, result: dict[str, Any] | None = None
    ) -> Batch | Stale:
        moved = self._transition(
            "fetching",
            shard,
            (ShardState.SUBMITTED,),
            state=ShardState.FETCHING,
            remote_status=status,
            remote_result=result,
            ended_at=now(),
            waiting_reason="",
            due_at=now(),
        )
        if isinstance(moved, Batch) and shard.submitted_at is not None:
            # As core.ledger.durations.learn_duration.
            key = (shard.provider, shard.remote_model)
            known = self._durations.get(key, Expected(0.0, 0))
            share = max(1.0 / (known.ended + 1.0), _NEW_SHARE)
            seconds = (now() - shard.submitted_at).total_seconds()
            mean = known.mean_seconds + share * (seconds - known.mean_seconds)
            self._durations[key] = Expected(mean, known.ended + 1)
        return moved

    async def settle(
        self, shard: Shard, settlement: Settlement, retry: Sequence[Shard] = ()
    ) -> Batch | Stale:
        batch = self._transition(
            "settle",
            shard,
            (ShardState.QUEUED, ShardState.SUBMITTING, ShardState.SUBMITTED, ShardState.FETCHING),
            state=ShardState.SETTLED,
            settled_at=now(),
            succeeded=settlement.succeeded,
            failed=settlement.failed,
            retried=settlement.retried,
        )
        if isinstance(batch, Batch):
            for ordinal, successor in enumerate(retry, start=batch.shard_count):
                successor.ordinal = ordinal
            self.add(retry)
            batch.shard_count += len(retry)
            batch.succeeded += settlement.succeeded
            batch.failed += settlement.failed
        return batch

    # The sweep.

    async def overdue(
        self, states: Collection[ShardState], before: datetime, limit: int
    ) -> list[Shard]:
        rows = [
            row
            for row in (
                *self._queued.values(),
                *(row for each in self._enqueued.values() for row in each.values()),
            )
            if row.state in states and row.due_at < before
        ]
        rows.sort(key=lambda row: row.due_at)
        return [row.copy() for row in rows[:limit]]

    async def take_overdue(self, shard: Shard, due_at: datetime) -> bool:
        self.transactions["take_overdue"] += 1
        row = self.rows[shard.id]
        if row.state != shard.state or row.due_at != shard.due_at:
            return False
        row.due_at = due_at
        return True


class _Batches:
    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    async def get(self, batch_id: str) -> Batch | None:
        return self._ledger.batch_rows.get(batch_id)


class _Files:
    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    async def get_input(self, batch: Batch) -> File | None:
        return self._ledger.file_rows.get(batch.input_file_id)


class _Pauses:
    async def kept(self, _batch_ids: Collection[str]) -> Any:
        return SimpleNamespace(providers=frozenset(), batches=frozenset(), halted=frozenset())


class _StopLoss:
    async def limits(self, _batch_id: str) -> Any:
        return SimpleNamespace(limited=False, room=None)


class _Funds:
    async def waiting(self, _account_id: str, _limit: int, _batch_id: str = "") -> list[Shard]:
        return []


class _Lending:
    async def ready_twins(self, _batch_id: str) -> list[str]:
        return []


class _RemoteFiles:
    async def take(self, _shard_id: str) -> None:
        return None


class _TriedKeys:
    async def keep(self, _provider: str, _credential: str, *, code: str = "") -> None:
        return None
