"""The tables. Rows handed out are detached copies: changing one changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import deferred
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

from core.ledger.states import TERMINAL, BatchState, FileState, ShardState, Stop


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC. Naive datetimes are refused; SQLite's lost zone is put back."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone reached the ledger")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def now() -> datetime:
    """The current moment, with its time zone."""
    return datetime.now(UTC)


def _moment(*, index: bool = False, nullable: bool = False) -> Any:
    return Field(default=None, sa_type=UtcDateTime, nullable=nullable, index=index)


def _big(default: int = 0) -> Any:
    return Field(default=default, sa_type=sa.BigInteger, nullable=False)


class Account(SQLModel, table=True):
    """Owner of keys, files and batches."""

    __tablename__ = "accounts"
    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    created_at: datetime = _moment()


class ApiKey(SQLModel, table=True):
    """A caller's key: only its SHA-256 is kept."""

    __tablename__ = "api_keys"
    id: str = Field(primary_key=True)
    account_id: str = Field(index=True, foreign_key="accounts.id")
    name: str = ""
    key_sha256: str = Field(unique=True)
    created_at: datetime = _moment()
    revoked_at: datetime | None = _moment(nullable=True)


class Upload(SQLModel, table=True):
    """An upload that has begun and has not become a file; its bytes are in the blobs."""

    __tablename__ = "uploads"
    account_id: str = Field(primary_key=True)
    upload_id: str = Field(primary_key=True)
    created_at: datetime = _moment(index=True)
    """When it was begun, or was last seen to go on."""
    bytes: int = _big()
    """Held for it in the account's limit; while it is open, more than has come."""
    open_until: datetime | None = _moment(nullable=True)
    """While it goes on: when it counts as broken off, unless it is seen again. The last
    stream that took it up knows itself by it."""


class File(SQLModel, table=True):
    """A checked input file; its bytes, index and report are in the blobs."""

    __tablename__ = "files"
    __table_args__ = (
        sa.UniqueConstraint("account_id", "upload_id"),
        sa.Index("ix_files_account_bytes", "account_id", "bytes"),
    )
    id: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    upload_id: str
    filename: str = ""
    state: FileState = Field(sa_type=sa.String)
    bytes: int = _big()
    sha256: str = ""
    line_count: int = _big()
    invalid_line_count: int = _big()
    """Lines that not every batch takes."""
    lenient_line_count: int = _big()
    """Of these, lines that a lenient batch takes."""
    problem_count: int = _big()
    endpoint: str = ""
    groups: list[dict[str, Any]] = Field(default_factory=list, sa_type=sa.JSON)
    """[{"provider", "model", "lines", "bytes", "lenient_lines"}]; index records point into it.

    Older rows lack the last.
    """
    created_at: datetime = _moment(index=True)

    @property
    def prefix(self) -> str:
        """Where the blobs of the file lie."""
        return f"files/{self.account_id}/{self.upload_id}"


_PRICES = sa.Column("prices", sa.Text, nullable=True)


class Batch(SQLModel, table=True):
    """One batch. Counts are derived from its shards at every transition."""

    __tablename__ = "batches"
    __mapper_args__: ClassVar[dict[str, Any]] = {"properties": {"prices": deferred(_PRICES)}}
    __table_args__ = (
        sa.UniqueConstraint("account_id", "request_id"),
        sa.Index("ix_batches_account_state", "account_id", "state"),
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
    revision: int = _big(1)
    details: dict[str, str] = Field(default_factory=dict, sa_type=sa.JSON)
    """The caller's metadata."""
    window_seconds: float = 86_400.0
    skip_invalid_lines: bool = False
    lenient_translation: bool = False
    fail_fast: bool = False
    """Lines fail at once where their provider refuses the key, instead of waiting for another."""
    total: int = _big()
    invalid: int = _big()
    """Lines that were never sent because they are invalid; part of `failed`."""
    succeeded: int = _big()
    failed: int = _big()
    """All lines that have ended without success."""
    cancelled: int = _big()
    """Of these, lines that the batch's cancel kept from being answered."""
    expired: int = _big()
    """The same of its completion window, or of the provider's."""
    queued: int = _big()
    submitted: int = _big()
    processed: int = _big()
    retrying: int = _big()
    finished_high_water: int = _big()
    """The highest number of finished lines ever shown: progress never falls."""
    input_tokens: int = _big()
    cached_input_tokens: int = _big()
    output_tokens: int = _big()
    reasoning_tokens: int = _big()
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
    late: int = _big()
    """Lines that were answered after the end; they are part of `succeeded` and `failed`."""
    awaited: int = _big()
    """Lines of a batch that no longer waits for them, which a provider may still answer."""
    awaited_until: datetime | None = _moment(nullable=True)
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
    created_at: datetime = _moment(index=True)
    in_progress_at: datetime | None = _moment(nullable=True)
    finalizing_at: datetime | None = _moment(nullable=True)
    completed_at: datetime | None = _moment(nullable=True)
    failed_at: datetime | None = _moment(nullable=True)
    expired_at: datetime | None = _moment(nullable=True)
    cancelling_at: datetime | None = _moment(nullable=True)
    cancelled_at: datetime | None = _moment(nullable=True)
    expires_at: datetime = _moment()
    stopping_at: datetime | None = _moment(nullable=True)
    """When the stop began, by cancel or by the window's end."""
    due_at: datetime = _moment(index=True)
    """When the next step was expected; the sweep looks at what is past it."""

    @property
    def ended(self) -> bool:
        """True when nothing can change any more."""
        return self.state in TERMINAL

    @property
    def all_settled(self) -> bool:
        """True when it is planned and every line has its outcome."""
        return self.shard_count > 0 and self.succeeded + self.failed == self.total


class Shard(SQLModel, table=True):
    """Lines of a batch that go to one provider as one batch of its own."""

    __tablename__ = "shards"
    __table_args__ = (
        sa.UniqueConstraint("batch_id", "ordinal"),
        sa.Index(
            "ix_shards_given_up",
            "given_up_at",
            sqlite_where=sa.text("given_up_at IS NOT NULL"),
            postgresql_where=sa.text("given_up_at IS NOT NULL"),
        ),
        sa.Index(
            "ix_shards_inputs_due",
            "inputs_due_at",
            sqlite_where=sa.text("inputs_due_at IS NOT NULL"),
            postgresql_where=sa.text("inputs_due_at IS NOT NULL"),
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
    line_count: int = _big()
    byte_count: int = _big()
    media_bytes: int = _big()
    """Of `byte_count`, the base64 of images, recordings and files: no text."""
    media_tokens: int = _big()
    """What these come to by the provider's published rules."""
    token: str = ""
    """Of the latest attempt to submit; travels with the request."""
    file_token: str = ""
    """In the custom ids and the name of what is sent: the token of the attempt that it was
    written for, which later ones may send again."""
    attempts: int = 0
    intended_at: datetime | None = _moment(nullable=True)
    no_inflight_since: datetime | None = _moment(nullable=True)
    """Since when no create of the latest attempt can be under way; None: not known."""
    dispatched_at: datetime | None = _moment(nullable=True)
    """When the create of the latest attempt was allowed to leave; None: it surely has not."""
    credential: str = ""
    """Names the key of the latest attempt without telling it (KnownProviders.credentials)."""
    sent_bytes: int = _big()
    sent_lines: int = _big()
    sent_sha256: str = ""
    rejects_prefix: str = ""
    """Result lines of requests that could not be put into the provider's form."""
    remote_id: str = Field(default="", index=True)
    remote_file_id: str = ""
    """The provider's id of the uploaded input; kept for the next attempt where a create was
    refused."""
    uploaded_at: datetime | None = _moment(nullable=True)
    stray_uploads: bool = False
    """An upload whose answer was lost may lie at the provider beside `remote_file_id`."""
    remote_status: str = ""
    inputs_due_at: datetime | None = _moment(nullable=True)
    """When to try again to delete the uploads; None: not tried yet, or done."""
    remote_result: dict[str, Any] | None = Field(default=None, sa_type=sa.JSON)
    """How the provider's batch ended and where its results are, in JSON (see core.providers)."""
    remote_model: str = ""
    """The provider's id of the model."""
    tokens: int = _big()
    """Estimated prompt tokens of the latest attempt."""
    token_refusals: int = 0
    """How often in a row the provider refused it for its enqueued-token limit."""
    waits_for_quota: bool = False
    """Queued until there is quota under the enqueued-token limit."""
    waiting_reason: str = ""
    finished: int = _big()
    """Highest count of finished lines that the provider has reported, or whose results
    are kept."""
    succeeded: int = _big()
    failed: int = _big()
    """All that ended without success; the next two are part of it."""
    cancelled: int = _big()
    expired: int = _big()
    retried: int = _big()
    input_tokens: int = _big()
    cached_input_tokens: int = _big()
    output_tokens: int = _big()
    reasoning_tokens: int = _big()
    results_prefix: str = ""
    """Where the settled result lines lie; empty: every line gets `fill_code`."""
    fill_code: str = ""
    fill_message: str = ""
    refetches: int = 0
    given_up_at: datetime | None = _moment(nullable=True)
    """When the batch stopped waiting for it: every line has `fill_code` until its answers have
    come and are merged into the results."""
    late_until: datetime | None = _moment(nullable=True)
    """Until when the provider keeps results that may still be brought home."""
    late_merged: bool = False
    """Given up, and the answers that came later are in the results."""
    created_at: datetime = _moment()
    submitted_at: datetime | None = _moment(nullable=True)
    ended_at: datetime | None = _moment(nullable=True)
    settled_at: datetime | None = _moment(nullable=True)
    due_at: datetime = _moment(index=True)
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


class TokenBudget(SQLModel, table=True):
    """What is known of a provider's enqueued-token limit for one model (see probing.py)."""

    __tablename__ = "token_budgets"
    provider: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    limit_tokens: int | None = Field(default=None, sa_type=sa.BigInteger)
    """What is believed to be taken; None: no limit is known."""
    stated_tokens: int | None = Field(default=None, sa_type=sa.BigInteger)
    """The limit that the latest refusal named; None: it named none."""
    learned_at: datetime | None = _moment(nullable=True)
    """When it was last refused."""
    refused_alone: str = ""
    """Id of the shard that was refused last, if nothing else was enqueued."""
    probe_shard: str = ""
    """Id of the shard that has gone above the limit, until it is known how that ended."""
    probe_tokens: int = _big()
    """What is enqueued if the provider takes it."""
    probe_at: datetime | None = _moment(nullable=True)
    """When the next probe may go; None: now."""
    probe_pause: float = 0.0
    """Seconds that were waited for it."""
    bytes_per_token: float = 3.0
    """Of text."""
    media_factor: float = 1.0
    """Tokens that were counted for images, recordings and files, for each by the rules."""


class ProviderHold(SQLModel, table=True):
    """Until when a provider wants no call with a credential (Retry-After)."""

    __tablename__ = "provider_holds"
    provider: str = Field(primary_key=True)
    credential: str = Field(primary_key=True)
    """As Shard.credential."""
    until: datetime = _moment()


class ProviderKey(SQLModel, table=True):
    """What a provider said of a key when it was last tried."""

    __tablename__ = "provider_keys"
    provider: str = Field(primary_key=True)
    credential: str = Field(primary_key=True)
    """As Shard.credential: another one for another key or address."""
    accepted: bool
    code: str = ""
    """The provider's own, where it refused the key."""
    checked_at: datetime = _moment()


class ProviderDuration(SQLModel, table=True):
    """How long a provider's batches of a model took lately, from submission to their end."""

    __tablename__ = "provider_durations"
    provider: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    mean_seconds: float = 0.0
    ended: int = _big()
    """Batches that it was learned from."""
    learned_at: datetime = _moment()
