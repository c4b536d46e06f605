"""Shards: lines of a batch that go to one provider as one batch of its own."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from core.ledger.states import Priority, ShardPurpose, ShardState
from core.ledger.tables.columns import Table, big, moment, now, partial_index

PAUSED = "paused: "
"""How the reason begins for which a shard of a paused batch or provider waits."""
CANARY = "canary: "
"""The same of a shard that waits for the lines that go first."""


class Shard(Table, table=True):
    """Lines of a batch that go to one provider as one batch of its own."""

    __tablename__ = "shards"
    __table_args__ = (
        sa.UniqueConstraint("batch_id", "ordinal"),
        partial_index(
            "ix_shards_served",
            "account_id",
            "provider",
            "intended_at",
            where="intended_at IS NOT NULL",
        ),
        partial_index(
            "ix_shards_given_up",
            "given_up_at",
            where="given_up_at IS NOT NULL",
        ),
        partial_index(
            "ix_shards_inputs_due",
            "inputs_due_at",
            where="inputs_due_at IS NOT NULL",
        ),
        partial_index(
            "ix_shards_waits_for_funds",
            "account_id",
            where="waits_for_funds = 1",
            postgresql="waits_for_funds",
        ),
    )
    id: str = Field(primary_key=True)
    batch_id: str = Field(index=True, foreign_key="batches.id")
    account_id: str = ""
    ordinal: int
    round: int = 0
    """0 for lines sent for the first time, n for lines sent again n times."""
    provider: str
    model: str
    """As named in the file; of the first line where models are mixed."""
    endpoint: str
    state: ShardState = Field(sa_type=sa.String, index=True)
    purpose: ShardPurpose = Field(default=ShardPurpose.NONE, sa_type=sa.String)
    priority: Priority = Field(default=Priority.NORMAL, sa_type=sa.Integer)
    """As its batch's."""
    line_count: int = big()
    byte_count: int = big()
    media_bytes: int = big()
    """Of `byte_count`, the base64 of images, recordings and files: no text."""
    media_tokens: int = big()
    """What these come to by the provider's published rules."""
    token: str = ""
    """Of the latest attempt to submit; travels with the request."""
    file_token: str = ""
    """In the custom ids and the name of what is sent: the token of the attempt that it was
    written for, which later ones may send again."""
    attempts: int = 0
    intended_at: datetime | None = moment(nullable=True)
    no_inflight_since: datetime | None = moment(nullable=True)
    """Since when no create of the latest attempt can be under way; None: not known."""
    dispatched_at: datetime | None = moment(nullable=True)
    """When the create of the latest attempt was allowed to leave; None: it surely has not."""
    credential: str = ""
    """Names the key of the latest attempt without telling it (KnownProviders.credentials)."""
    sent_bytes: int = big()
    sent_lines: int = big()
    sent_sha256: str = ""
    rejects_prefix: str = ""
    """Result lines of requests that could not be put into the provider's form."""
    remote_id: str = Field(default="", index=True)
    remote_file_id: str = ""
    """The provider's id of the uploaded input; kept for the next attempt where a create was
    refused."""
    uploaded_at: datetime | None = moment(nullable=True)
    stray_uploads: bool = False
    """An upload whose answer was lost, an orphan, may lie at the provider beside
    `remote_file_id`."""
    remote_status: str = ""
    inputs_due_at: datetime | None = moment(nullable=True)
    """When to try again to delete the uploads; None: not tried yet, or done."""
    remote_result: dict[str, Any] | None = Field(default=None, sa_type=sa.JSON)
    """How the provider's batch ended and where its results are, in JSON (see core.providers)."""
    remote_model: str = ""
    """The provider's id of the model."""
    tokens: int = big()
    """Estimated prompt tokens of the latest attempt."""
    token_refusals: int = 0
    """How often in a row the provider refused it for its enqueued-token limit."""
    waits_for_quota: bool = False
    """Queued until there is quota under the enqueued-token limit."""
    waiting_reason: str = ""
    finished: int = big()
    """Highest count of finished lines that the provider has reported, or whose results
    are kept."""
    succeeded: int = big()
    failed: int = big()
    """All that ended without success; the next two are part of it."""
    cancelled: int = big()
    expired: int = big()
    withheld: int = big()
    """Of `failed`, lines that a limit of their batch kept from being sent."""
    retried: int = big()
    input_tokens: int = big()
    cached_input_tokens: int = big()
    output_tokens: int = big()
    reasoning_tokens: int = big()
    cache_write_tokens: int = big()
    cost_nanos: int = big()
    """Of all its lines; 0 until it is settled."""
    unpriced_lines: int = big()
    expected_nanos: int = big()
    """What the latest attempt's lines should cost; 0 where nothing limits spending."""
    at_most_nanos: int = big()
    """What they can cost at the most, likewise."""
    waits_for_funds: bool = False
    """Queued until there are credits, room in a budget, or room under the batch's `max_cost`."""
    results_prefix: str = ""
    """Where the settled result lines lie; empty: every line gets `fill_code`."""
    fill_code: str = ""
    fill_message: str = ""
    refetches: int = 0
    given_up_at: datetime | None = moment(nullable=True)
    """When the batch stopped waiting for it: every line has `fill_code` until its answers have
    come and are merged into the results."""
    late_until: datetime | None = moment(nullable=True)
    """Until when the provider keeps results that may still be brought home."""
    late_merged: bool = False
    """Given up, and the answers that came later are in the results."""
    created_at: datetime = moment()
    submitted_at: datetime | None = moment(nullable=True)
    ended_at: datetime | None = moment(nullable=True)
    settled_at: datetime | None = moment(nullable=True)
    settled_revision: int = big()
    """The revision of its batch that settled it; 0: it is not, or was before this was kept."""
    due_at: datetime = moment(index=True)
    """When the next step was expected: send, look again, poll or fetch."""

    @property
    def text_bytes(self) -> int:
        """Bytes of its lines that count as text."""
        return self.byte_count - self.media_bytes

    @property
    def lines_key(self) -> str:
        """Blob with the shard's line list (records of core.batchfile.INDEX)."""
        return f"batches/{self.batch_id}/shards/{self.id}/lines"

    @property
    def firsts_key(self) -> str:
        """Blob with the numbers, u32 each, of the lines whose answers its own take."""
        return f"batches/{self.batch_id}/shards/{self.id}/firsts"

    @property
    def run_prefix(self) -> str:
        """Where the log of a run lies, for a shard that the dispatcher runs itself."""
        return f"batches/{self.batch_id}/shards/{self.id}/run"

    @property
    def ran_here(self) -> bool:
        """True for a shard past its end if the dispatcher ran it: no provider has an id for it."""
        return not self.remote_id

    @property
    def given_up(self) -> bool:
        """True while its answers would come too late for its batch, and are not in the results."""
        return self.given_up_at is not None and not self.late_merged

    @property
    def held(self) -> bool:
        """True while a pause or a canary keeps it: it is woken by what ends that, and not by the
        clock."""
        return self.waiting_reason.startswith((PAUSED, CANARY))

    @property
    def paused(self) -> bool:
        """True while its batch or its provider is paused, and it waits for that alone."""
        return self.waiting_reason.startswith(PAUSED)

    @property
    def times_sent(self) -> int:
        """How often its lines were sent to the provider, as far as is known."""
        return self.round + bool(self.remote_id or (self.given_up_at and self.dispatched_at))

    def dropped_prefix(self, token: str) -> str:
        """Where it lies what a lenient translation left out of the lines of an attempt."""
        return f"batches/{self.batch_id}/shards/{self.id}/dropped/{token}"

    def successor(
        self,
        shard_id: str,
        *,
        lines: int,
        round_number: int,
        due_at: datetime,
        waiting_reason: str = "",
    ) -> Shard:
        """A shard that takes over some of this one's lines; its ordinal is given later."""
        return Shard(
            id=shard_id,
            batch_id=self.batch_id,
            account_id=self.account_id,
            ordinal=0,
            round=round_number,
            purpose=self.purpose,
            priority=self.priority,
            provider=self.provider,
            model=self.model,
            remote_model=self.remote_model,
            endpoint=self.endpoint,
            state=ShardState.QUEUED,
            line_count=lines,
            byte_count=self.byte_count * lines // self.line_count,
            media_bytes=self.media_bytes * lines // self.line_count,
            media_tokens=self.media_tokens * lines // self.line_count,
            # Lines that ran show that the provider takes them: a pause begins small again.
            attempts=self.attempts if round_number == self.round else 0,
            waiting_reason=waiting_reason,
            created_at=now(),
            due_at=due_at,
        )
