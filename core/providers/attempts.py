"""An attempt to submit a shard: its intent, its names, and what is uploaded for it.

Part of the contract (core.providers.contract).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Intent:
    """What is about to be sent, recorded durably before the first byte leaves."""

    shard_id: str
    token: str
    """Fresh for each attempt; travels with the request so that it can be found again."""
    endpoint: str
    model: str
    """The provider's model id; of the first line where models are mixed."""
    line_count: int
    size: int
    """Bytes of the spool file."""
    sha256: str
    intended_at: datetime
    file_token: str = ""
    """In the custom ids and the name of the input: the token of the attempt that wrote it.
    Empty: this one's own."""

    def custom_id(self, line: int) -> str:
        """The id that the provider sees: at most 64 characters of [A-Za-z0-9_-]."""
        return f"{self.shard_id}-{self.file_token or self.token}-{line}"

    @property
    def batch_name(self) -> str:
        """A name for the batch: no other attempt has it."""
        return f"{upload_prefix(self.shard_id)}{self.token}"

    @property
    def upload_name(self) -> str:
        """A name for the uploaded input; attempts that send the same one share it."""
        return f"{upload_prefix(self.shard_id)}{self.file_token or self.token}"


def upload_prefix(shard_id: str) -> str:
    """What the names of all uploads of a shard begin with, and those of no other."""
    return f"pb-{shard_id}-"


def parse_custom_id(custom_id: str) -> tuple[str, str, int] | None:
    """Take (shard id, token, line number) out of one of our custom ids; None if it is not ours."""
    shard_id, _, rest = custom_id.partition("-")
    token, _, line = rest.partition("-")
    if not (shard_id and token and line.isascii() and line.isdigit()):
        return None
    return shard_id, token, int(line)


@dataclass(frozen=True, slots=True)
class Upload:
    """The input of a batch as it lies at its provider."""

    remote_file_id: str = ""
    """Empty: there is none, or nobody knows its id."""
    orphans: bool = False
    """Copies may lie beside it: an upload was repeated after its answer had been lost."""
    usable: bool = field(default=False, compare=False)
    """A create has named it before: where a provider processes files, it is done with it."""


NO_UPLOAD = Upload()
