"""How a call of the fake service fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

NOT_FOUND = grpc.StatusCode.NOT_FOUND


@dataclass
class Fault:
    """How one call fails."""

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    message: str = "gone for now"
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: list[tuple[str, str]] = field(default_factory=list)
    retry_after: float | None = None
    after_bytes: int = 0
    """Of an upload or a download."""
    after_messages: int = 0
    """Of a watch."""
    end_with_ok: bool = False
    """End the stream early instead of failing."""
    hold: bool = False
    """Stop in a download and send no more, until the server is stopped."""
    after_upload: bool = False
    """Of a batch that is made with its upload: refuse it once its file is there."""
    after_work: bool = False
    """Do what was asked, then fail: the reply is lost."""

    async def abort(self, context: Any) -> None:
        """Ends the call with google.rpc.Status details, as core/serving does."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        details: list[Any] = []
        if self.reason:
            details.append(
                error_details_pb2.ErrorInfo(
                    reason=self.reason, domain="polybatch", metadata=self.metadata
                )
            )
        if self.violations:
            bad_request = error_details_pb2.BadRequest()
            for name, description in self.violations:
                bad_request.field_violations.add(field=name, description=description)
            details.append(bad_request)
        if self.retry_after is not None:
            retry_info = error_details_pb2.RetryInfo()
            retry_info.retry_delay.FromNanoseconds(int(self.retry_after * 1e9))
            details.append(retry_info)
        if not details:
            await context.abort(self.code, self.message)
        for detail in details:
            packed = Packed()
            packed.Pack(detail)
            status.details.append(packed)
        await context.abort_with_status(rpc_status.to_status(status))
