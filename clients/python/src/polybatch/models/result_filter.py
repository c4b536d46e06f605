"""Which lines of the results somebody wants."""

from __future__ import annotations

from enum import StrEnum

from polybatch.v1 import results_pb2 as pb


class ResultFilter(StrEnum):
    """Which lines of the results."""

    ALL = "all"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    def to_proto(self) -> pb.ResultFilter:
        """Returns the number on the wire."""
        return _FILTER_NUMBERS[self]


_FILTER_NUMBERS: dict[ResultFilter, pb.ResultFilter] = {
    ResultFilter.ALL: pb.RESULT_FILTER_UNSPECIFIED,
    ResultFilter.SUCCEEDED: pb.RESULT_FILTER_SUCCEEDED,
    ResultFilter.FAILED: pb.RESULT_FILTER_FAILED,
}
