"""What comes in is bounded: by file, by process, by account."""

from __future__ import annotations

from pydantic import Field

from core.settings.group import SettingsGroup
from core.settings.units import Bytes, Seconds


class UploadSettings(SettingsGroup):
    """Files and uploads"""

    max_line_bytes: Bytes = Field(default=16 * 1024 * 1024, ge=1024)
    """Longest line of an input file."""
    max_file_bytes: Bytes = Field(default=64 * 1024**3, ge=1)
    """Largest input file, unpacked."""
    max_lines: int = Field(default=5_000_000, ge=1)
    """Most lines of an input file."""
    max_json_depth: int = Field(default=500, ge=10, le=500)
    """Levels of lists and objects that a line may be nested."""
    segment_bytes: Bytes = Field(default=8 * 1024 * 1024, ge=64 * 1024)
    """Size at which a segment of an uploaded file, or of a result file, is committed."""
    upload_idle_timeout: Seconds = Field(default=60.0, gt=0)
    """An upload stream that is silent for so long is ended; it can be resumed."""
    upload_min_rate: float = Field(default=64.0, ge=0)
    """Bytes a second that an upload has to bring, over each upload_idle_timeout of waiting for
    it: one that trickles is ended, and can be resumed. 0: any."""
    upload_retention: Seconds = Field(default=86_400.0, gt=0)
    """An unfinished upload that nobody has gone on with for so long is deleted."""
    results_retention: Seconds = Field(default=0.0, ge=0)
    """Results and input of a batch are deleted so long after its end, where neither the batch nor
    its account says how long (docs/steering.md#keep-and-delete); 0: they are kept. Of batches
    that are made from then on."""


class ProcessLimits(SettingsGroup):
    """What one process takes at a time"""

    max_connections: int = Field(default=10_000, ge=1)
    """Connections that one service takes at a time; further ones are closed at once."""
    max_streams_per_connection: int = Field(default=5_000, ge=1)
    """Calls open on one connection at a time; further ones wait in the client."""
    max_uploads: int = Field(default=500, ge=1)
    """Uploads open at one gateway at a time, of all accounts. Each may hold a line of
    max_line_bytes and about 8 MiB beside it."""
    max_downloads: int = Field(default=500, ge=1)
    """Downloads open at one gateway or collector at a time. Each holds 1 to 2 MiB."""
    max_watches: int = Field(default=20_000, ge=1)
    """Watches open at one collector at a time. Each holds some tens of KiB."""
    max_account_watches: int = Field(default=10_000, ge=1)
    """Watches of one account open at one collector at a time."""
    max_calls: int = Field(default=5_000, ge=1)
    """All other calls running at one service at a time."""


class AccountLimits(SettingsGroup):
    """What one account may have"""

    account_open_uploads: int = Field(default=100, ge=0)
    """Uploads that one account may have open at a time, over all gateways; 0: any number."""
    account_batches: int = Field(default=5_000, ge=0)
    """Batches of one account that have not ended, at a time; 0: any number."""
    account_bytes: Bytes = Field(default=1024**4, ge=0)
    """Input files that one account may keep, unfinished uploads included; 0: any."""
    account_webhooks: int = Field(default=20, ge=0)
    """Webhook endpoints of one account; 0: any number."""
    account_requests_per_second: float = Field(default=500.0, ge=0)
    """Calls that one account may begin at each gateway and each collector; ten seconds' worth
    of them at once. 0: any number."""
