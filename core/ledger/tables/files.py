"""Uploads, and the files that they become."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from core.ledger.states import FileState
from core.ledger.tables.columns import Table, big, moment, partial_index

DISCARDED = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands in `open_until` of an upload whose blobs are being deleted: long over, so nothing counts
it as one that goes on."""


class Upload(Table, table=True):
    """An upload that has begun and has not become a file; its bytes are in the blobs."""

    __tablename__ = "uploads"
    account_id: str = Field(primary_key=True)
    upload_id: str = Field(primary_key=True)
    created_at: datetime = moment(index=True)
    """When it was begun, or was last seen to go on."""
    bytes: int = big()
    """Held for it in the account's limit; while it is open, more than has come."""
    open_until: datetime | None = moment(nullable=True)
    """While it goes on: when it counts as broken off, unless it is seen again. The last
    stream that took it up knows itself by it. Or DISCARDED."""

    @property
    def discarded(self) -> bool:
        """Whether what is stored of it is being deleted."""
        return self.open_until == DISCARDED


class File(Table, table=True):
    """A checked input file; its bytes, index and report are in the blobs."""

    __tablename__ = "files"
    __table_args__ = (
        sa.UniqueConstraint("account_id", "upload_id"),
        sa.Index("ix_files_account_bytes", "account_id", "bytes"),
        partial_index(
            "ix_files_source_file_id",
            "source_file_id",
            where="source_file_id <> ''",
        ),
    )
    id: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    upload_id: str
    filename: str = ""
    state: FileState = Field(sa_type=sa.String)
    bytes: int = big()
    sha256: str = ""
    line_count: int = big()
    invalid_line_count: int = big()
    """Lines that not every batch takes."""
    lenient_line_count: int = big()
    """Of these, lines that a lenient batch takes."""
    problem_count: int = big()
    endpoint: str = ""
    groups: list[dict[str, Any]] = Field(default_factory=list, sa_type=sa.JSON)
    """[{"provider", "model", "lines", "bytes", "lenient_lines"}]; index records point into it.

    Older rows lack the last.
    """
    created_at: datetime = moment(index=True)
    expires_at: datetime | None = moment(nullable=True, index=True)
    """When it is deleted, unless a batch of it runs then; None: it is kept."""
    source_file_id: str = ""
    """The file that was uploaded with its lines, for a retry; they have the numbers of there."""

    @property
    def prefix(self) -> str:
        """Where the blobs of the file lie."""
        return f"files/{self.account_id}/{self.upload_id}"
