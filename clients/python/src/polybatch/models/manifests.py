"""What proves that results are complete. Fields are those of protos/polybatch/v1/results.proto."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from polybatch.models.batches import RequestCounts, Usage
from polybatch.models.messages import from_message


@dataclass(frozen=True, slots=True)
class ManifestShard:
    """What became of one shard."""

    id: str
    provider: str
    model: str
    provider_batch_id: str
    line_count: int
    succeeded: int
    failed: int
    retried: int
    """Lines handed on to a later shard."""
    cancelled: int = 0
    expired: int = 0
    cost: Decimal | None = None
    """In USD; None of results from before costs were reckoned."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Proof of completeness, written with the results."""

    batch_id: str
    input_sha256: str
    input_line_count: int
    results_sha256: str
    """Of the unfiltered result file, lowercase hexadecimal."""
    results_bytes: int
    request_counts: RequestCounts
    usage: Usage
    shards: tuple[ManifestShard, ...]
    results_revision: int = 1
    """1 for the results that the batch ended with; one more each time that late answers came."""
    late_line_count: int = 0
    """Lines that were answered after the batch had ended."""
    awaited_line_count: int = 0
    """Lines that a provider may still answer."""
    cost: Decimal | None = None
    """The sum of the lines' costs, in USD; None of results from before they were reckoned."""
    unpriced_line_count: int = 0
    """Lines that were answered and whose model has no price."""

    @classmethod
    def from_proto(cls, message: Any) -> Manifest:
        """Builds it from polybatch.v1.Manifest."""
        return from_message(
            cls,
            message,
            request_counts=RequestCounts.from_proto(message.request_counts),
            usage=Usage.from_proto(message.usage),
            shards=tuple(from_message(ManifestShard, shard) for shard in message.shards),
        )
