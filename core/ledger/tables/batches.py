"""Batches."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import deferred
from sqlmodel import Field

from core.ledger.states import TERMINAL, BatchState, CanaryState, Priority, ResultsGone, Stop
from core.ledger.tables.columns import Table, UtcDateTime, big, moment, partial_index

_PRICES = sa.Column("prices", sa.Text, nullable=True)


class Batch(Table, table=True):
    """One batch. Counts are derived from its shards at every transition."""

    __tablename__ = "batches"
    __mapper_args__: ClassVar[dict[str, Any]] = {"properties": {"prices": deferred(_PRICES)}}
    __table_args__ = (
        sa.UniqueConstraint("account_id", "request_id"),
        sa.Index("ix_batches_account_state", "account_id", "state", "created_at", "id"),
        sa.Index("ix_batches_account_created_at", "account_id", "created_at", "id"),
        partial_index(
            "ix_batches_account_name",
            "account_id",
            "created_at",
            "id",
            "name_folded",
            where="name_folded <> ''",
        ),
        partial_index(
            "ix_batches_parent_id",
            "parent_id",
            where="parent_id <> ''",
        ),
        partial_index(
            "ix_batches_removal_due_at",
            "removal_due_at",
            where="removal_due_at IS NOT NULL",
        ),
    )
    id: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    request_id: str | None = None
    """Unique within the account; None when the caller gave none."""
    request_digest: str = ""
    """Of the other arguments of the call that made the batch."""
    input_file_id: str = Field(index=True)
    endpoint: str
    state: BatchState = Field(sa_type=sa.String, index=True)
    stop: Stop = Field(default=Stop.NONE, sa_type=sa.String)
    revision: int = big(1)
    details: dict[str, str] = Field(default_factory=dict, sa_type=sa.JSON)
    """The caller's metadata."""
    window_seconds: float = 86_400.0
    skip_invalid_lines: bool = False
    lenient_translation: bool = False
    fail_fast: bool = False
    """Lines fail at once where their provider refuses the key, instead of waiting for another."""
    total: int = big()
    invalid: int = big()
    """Lines that were never sent because they are invalid; part of `failed`."""
    succeeded: int = big()
    failed: int = big()
    """All lines that have ended without success."""
    cancelled: int = big()
    """Of these, lines that the batch's cancel kept from being answered."""
    expired: int = big()
    """The same of its completion window, or of the provider's."""
    queued: int = big()
    submitted: int = big()
    processed: int = big()
    retrying: int = big()
    finished_high_water: int = big()
    """The highest number of finished lines ever shown: progress never falls."""
    input_tokens: int = big()
    cached_input_tokens: int = big()
    output_tokens: int = big()
    reasoning_tokens: int = big()
    cache_write_tokens: int = big()
    key_id: str = ""
    """The key that it is billed to; empty for batches from before keys were kept."""
    cost_nanos: int = big()
    """Of all lines that are settled."""
    unpriced_lines: int = big()
    """Lines with tokens and without a price, which are not in `cost_nanos`."""
    expected_nanos: int | None = Field(default=None, sa_type=sa.BigInteger)
    """What it was expected to cost when it was made; None: not known."""
    at_most_nanos: int | None = Field(default=None, sa_type=sa.BigInteger)
    """What it could cost, if each answer was as long as it may be; None: not known."""
    reserved_nanos: int = big()
    """What it holds of its account's balance."""
    max_cost_nanos: int | None = Field(default=None, sa_type=sa.BigInteger)
    """What would go past it is not sent; None: no limit."""
    errors: list[dict[str, Any]] = Field(default_factory=list, sa_type=sa.JSON)
    """{"code", "message"} each, with the number of an input "line" and its "field" where it is
    one that is wrong."""
    common_cause: dict[str, str] | None = Field(default=None, sa_type=sa.JSON)
    """{"code", "message"} for which every line failed; None where they did not, or not all."""
    shard_count: int = 0
    results_prefix: str = ""
    """Where the results lie; set by the transition that ends the batch, and set anew where
    late answers have come."""
    results_revision: int = 0
    """Of the results: 1 at the batch's end, one more each time that late answers were merged."""
    late: int = big()
    """Lines that were answered after the end; they are part of `succeeded` and `failed`."""
    awaited: int = big()
    """Lines of a batch that no longer waits for them, which a provider may still answer."""
    awaited_until: datetime | None = moment(nullable=True)
    """When the last of them is given up for good."""
    assembler: str = ""
    """Token of whoever writes the results just now; see Batches.renew_assembly."""
    traceparent: str = ""
    """Span context of the call that made it, in W3C's form; empty while nothing is traced."""
    waiting_reason: str = ""
    """Why it cannot be planned or assembled just now, human-readable."""
    prices: str | None = Field(default=None, sa_column=_PRICES)
    """What its models cost when it was made (core.prices.snapshot), never changed; None: it is
    older than this column. Read by Batches.prices alone: it grows with the file's models."""
    name: str = ""
    name_folded: str = ""
    """The name as it is searched for, whatever the case."""
    priority: Priority = Field(default=Priority.NORMAL, sa_type=sa.Integer)
    parent_id: str = ""
    """The batch whose lines it retries; empty: none."""
    retries: int = 0
    """How many batches retry lines of it, or of one that does."""
    paused_at: datetime | None = moment(nullable=True)
    """Since when nothing more is sent; None: it is not paused."""
    paused_by: str = ""
    """The id of the key that paused it."""
    canary_lines: int = 0
    """So many lines of each model go first; 0: it has no canary."""
    canary_max_failure_rate: float = 0.0
    canary_state: CanaryState = Field(default=CanaryState.NONE, sa_type=sa.String)
    max_failure_rate: float | None = None
    """Nothing more is sent where a larger share of the lines with an outcome failed; None: no
    limit."""
    halt_code: str = ""
    """Error code of what is not sent any more, such as "canary_failed"; empty: it goes on. What is
    at a provider comes home, and the batch completes."""
    halt_message: str = ""
    halted_revision: int = big()
    """The revision that halted it; 0: it goes on."""
    rescue_seconds: float | None = None
    """So long before `expires_at` its lines are called one by one; None: never."""
    rescue_started_at: datetime | None = moment(nullable=True)
    """Since when they are; None: they are not."""
    rescued: int = big()
    """Lines that were."""
    reuse_seconds: float | None = None
    """How old the answers of other batches may be that its lines take; 0: only twins within the
    batch run once; None: every line is run."""
    reused: int = big()
    """Lines that took the answer of another."""
    saved_nanos: int = big()
    """What these would have cost."""
    retention_seconds: float | None = None
    """How long after its end its results are kept, by what was asked for and set when it was made;
    None: for ever."""
    results_expire_at: datetime | None = moment(nullable=True)
    """When results and input are deleted; None: not before it has ended, or never."""
    results_gone: ResultsGone = Field(default=ResultsGone.NONE, sa_type=sa.Integer)
    """Which of its results cannot be had any more."""
    removal_due_at: datetime | None = moment(nullable=True)
    """When the sweep is to delete what lies in the blobs; None: it need not."""
    deleted_at: datetime | None = moment(nullable=True)
    """No caller sees it any more, and nothing of it is left but this row, for the books."""
    webhook_url: str = ""
    """Where the event of its end goes besides the account's endpoints; empty: nowhere."""
    created_at: datetime = moment(index=True)
    in_progress_at: datetime | None = moment(nullable=True)
    finalizing_at: datetime | None = moment(nullable=True)
    completed_at: datetime | None = moment(nullable=True)
    failed_at: datetime | None = moment(nullable=True)
    expired_at: datetime | None = moment(nullable=True)
    cancelling_at: datetime | None = moment(nullable=True)
    cancelled_at: datetime | None = moment(nullable=True)
    expires_at: datetime = moment()
    stopping_at: datetime | None = moment(nullable=True)
    """When the stop began, by cancel or by the window's end."""
    due_at: datetime = moment(index=True)
    """When the next step was expected; the sweep looks at what is past it."""

    @property
    def ended(self) -> bool:
        """True when nothing can change any more."""
        return self.state in TERMINAL

    @property
    def ran_prefix(self) -> str:
        """Where the digests of the requests lie that it runs, if answers are reused."""
        return f"batches/{self.id}/reuse/ran"

    @property
    def lent_prefix(self) -> str:
        """Where the digests of those lie whose answers others may take."""
        return f"batches/{self.id}/reuse/lent"

    @property
    def rescue_at(self) -> datetime | None:
        """From when on its lines are called one by one; None: never."""
        if self.rescue_seconds is None:
            return None
        return self.expires_at - timedelta(seconds=self.rescue_seconds)

    @property
    def alarm_at(self) -> datetime:
        """When somebody has to see to it at the latest: for its rescue, or its window's end."""
        return self.expires_at if self.rescue_at is None else min(self.rescue_at, self.expires_at)

    @property
    def all_settled(self) -> bool:
        """True when it is planned and every line has its outcome."""
        return self.shard_count > 0 and self.succeeded + self.failed == self.total


class BatchTerm(Table, table=True):
    """Something that batches are found by: a model, the key, the name, a pair of the metadata."""

    __tablename__ = "batch_terms"
    account_id: str = Field(primary_key=True)
    term: str = Field(primary_key=True)
    """A digest; core.ledger.batch_search makes it."""
    created_at: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    """Of the batch: the order of lists."""
    batch_id: str = Field(primary_key=True, index=True)
