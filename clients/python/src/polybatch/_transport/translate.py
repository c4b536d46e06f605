"""From a failed RPC to an exception of this package, by its google.rpc.Status details."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc

from polybatch.errors import (
    Conflict,
    InternalError,
    InvalidLines,
    InvalidRequest,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    PolybatchError,
    Unauthenticated,
    Unavailable,
)
from polybatch.problems import LineProblem

_BY_CODE: dict[grpc.StatusCode, type[PolybatchError]] = {
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.UNIMPLEMENTED: InvalidRequest,
    grpc.StatusCode.ALREADY_EXISTS: Conflict,
    grpc.StatusCode.FAILED_PRECONDITION: Conflict,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitExceeded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: Unavailable,
    grpc.StatusCode.CANCELLED: Unavailable,
}

# The reasons stand in the comments of protos/polybatch/v1.
_NEXT_STEPS = {
    "API_KEY_MISSING": "set POLYBATCH_API_KEY, or name the key's file.",
    "API_KEY_INVALID": "check POLYBATCH_API_KEY; the key belongs to the service it came from.",
    "API_KEY_REVOKED": "get a new key from the operator, and set POLYBATCH_API_KEY.",
    "SCOPE_MISSING": "use such a key (--api-key-file); `polybatch keys current` tells of one.",
    "KEY_NOT_FOUND": "`polybatch keys list` shows the account's keys.",
    "ACCOUNT_NOT_FOUND": "`polybatch admin accounts list` shows them.",
    "PROVIDER_NOT_ALLOWED": "leave these lines out, or use another key.",
    "MODEL_NOT_ALLOWED": "leave these lines out, or use another key.",
    "NO_VALID_LINES": "fix the file; `polybatch validate FILE` shows every problem.",
    "FILE_NOT_FOUND": "list the files of this account for the right id.",
    "BATCH_NOT_FOUND": "list the batches of this account for the right id.",
    "MODEL_NOT_FOUND": "`polybatch prices` lists those whose prices are known.",
    "UPLOAD_NOT_FOUND": "start the upload at its beginning.",
    "REQUEST_ID_REUSED": "choose a new request id (--request-id), or ask for the same as before.",
    "BATCH_ENDED": "nothing of it is left to run; fetch its results.",
    "BATCH_NOT_ENDED": "watch it to its end first.",
    "PROVIDER_NOT_FOUND": "`polybatch providers --all` shows them.",
    "NO_RESULTS": "get the batch; its errors say why it could not run.",
    "RESULTS_DELETED": "run the lines again, if they are needed.",
    "FILE_IN_USE": "wait for the end of that batch, or cancel it.",
    "RESULTS_CHANGED": "fetch them again from the beginning.",
    "FILE_TOO_LARGE": "split the file.",
    "STORED_BYTES_LIMIT": "delete files that are no longer needed (`polybatch files list`, "
    "`polybatch files delete`), then upload it again; what has arrived is kept.",
    "TOO_MANY_LINES": "split the file.",
    "WEBHOOK_SECRET_MISSING": "make one first, and keep it: `polybatch webhooks create "
    "--for-batches`.",
    "WEBHOOK_NOT_FOUND": "`polybatch webhooks list` shows those of this account.",
    "DELIVERY_NOT_FOUND": "`polybatch webhooks deliveries` shows those of this account.",
    "PAGE_TOKEN_INVALID": "start the listing again.",
    "OFFSET_OUT_OF_RANGE": "start the download again.",
}

# The services' messages for these end in advice in terms of the API: "the batch is
# completed: fetch its results". Advice in terms of this client takes its place.
_ADVISED = frozenset(
    {
        "INVALID_LINES",
        "UPLOAD_NOT_FOUND",
        "REQUEST_ID_REUSED",
        "BATCH_ENDED",
        "BATCH_NOT_ENDED",
        "NO_RESULTS",
        "RESULTS_DELETED",
        "FILE_IN_USE",
        "FILE_TOO_LARGE",
        "TOO_MANY_LINES",
        "STORED_BYTES_LIMIT",
        "PAGE_TOKEN_INVALID",
        "WEBHOOK_SECRET_MISSING",
    }
)
_BEFORE_ADVICE = re.compile(r"(?:(?!: |; ).)*", re.DOTALL)


class FailedCall(Protocol):
    """What grpc.RpcError and grpc.aio.AioRpcError both offer."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Any: ...


@dataclass
class _Details:
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: list[Any] = field(default_factory=list)
    retry_after: float | None = None


def translate(call: FailedCall, server: str, address: str) -> PolybatchError:
    """Returns the exception for a failed call to a server, "gateway" or "collector"."""
    code = call.code()
    details = _details(call)
    message = call.details() or code.name
    next_step = _NEXT_STEPS.get(details.reason, "")
    if details.reason == "NO_VALID_LINES" and details.metadata.get("line_count") == "0":
        # There is no problem in it to be shown.
        next_step = "write a request on each line."
    if details.reason in _ADVISED and (match := _BEFORE_ADVICE.match(message)):
        message = match[0] or message
    if details.reason == "INVALID_LINES":
        return InvalidLines(
            message,
            problems=tuple(_line_problem(violation) for violation in details.violations),
            file_id=details.metadata.get("file_id", ""),
            next_step=_mending(details.metadata),
            code=code.name,
            metadata=details.metadata,
        )
    for violation in details.violations:
        if violation.description not in message:
            message = f"{message.rstrip('.')}; {violation.field}: {violation.description}"
    cause = message
    if not details.reason:
        details.reason, cause, next_step = _of_grpc(code, message, server)
        joint = " " if cause.startswith(_VERBS) else ": "
        message = f"{server} at {address}{joint}{cause}"
    if details.retry_after is not None and not next_step:
        next_step = f"try again in {details.retry_after:g} s."
    return _BY_CODE.get(code, InternalError)(
        message,
        reason=details.reason,
        next_step=next_step,
        code=code.name,
        retry_after=details.retry_after,
        metadata=details.metadata,
        server=server,
        address=address,
        cause=cause.removeprefix(_UNREACHED),
    )


def _mending(counts: dict[str, str]) -> str:
    """What to do about bad lines."""
    ways = ["fix them (`polybatch validate FILE` shows every problem)"]
    if int(counts.get("lenient_line_count", "0")):
        ways.append("leave out what their providers lack with lenient=True (--lenient)")
    # Of a file without a good line there is none to let run.
    if counts.get("invalid_line_count", "") != counts.get("line_count"):
        ways.append("let the good lines run with skip_invalid_lines (--skip-invalid)")
    *others, last = ways
    return f"{', '.join(others)}, or {last}." if others else f"{last}."


TLS_FAILED = "TLS_FAILED"
"""Reason of what OpenSSL refuses; unlike a connection that breaks, it does not pass by itself."""

_VERBS = ("is ", "does ")
_UNREACHED = "cannot be reached: "

# gRPC's words where it watches the health of replicas.
_UNHEALTHY = "backend unhealthy"
_ALL_FAILING = re.compile(r"connections to all backends failing; last error: (?:[A-Z_]+: )?")

# A connection that broke under a call, with what the system said of it in the innermost brackets.
_STREAM_REMOVED = re.compile(r"Stream removed(?:.*[(:] ?([^():]+) \(\d+\)\)*$)?", re.DOTALL)

_UNKNOWN_NAME = re.compile("errors resolving |DNS resolution failed")
_TLS_CAUSE = re.compile(r"OPENSSL_internal:([A-Z_]+)")


def _of_grpc(code: grpc.StatusCode, message: str, server: str) -> tuple[str, str, str]:
    """Reason, cause and next step of a status that comes from gRPC, which names no server."""
    if code is grpc.StatusCode.UNIMPLEMENTED:
        step = "upgrade it, or check the addresses of gateway and collector."
        return "", "does not know this call", f"it may be older than this client: {step}"
    if code is not grpc.StatusCode.UNAVAILABLE:
        return "", message, ""
    if message.endswith(_UNHEALTHY):
        return "NOT_SERVING", "is there, but not ready", "its log says what it waits for."
    if "handshake" in message.lower():
        cause = _TLS_CAUSE.search(message)
        return (
            TLS_FAILED if cause else "",
            f"TLS failed: {cause[1] if cause else message}",
            "check the certificate, or set POLYBATCH_TLS=0 where no TLS is spoken.",
        )
    message = _ALL_FAILING.sub("", message)
    if _UNKNOWN_NAME.match(message):
        message = f"{_UNREACHED}its name does not resolve"
    elif broken := _STREAM_REMOVED.match(message):
        message = ": ".join(filter(None, ("the connection broke", broken[1])))
    elif "failed to connect" in message.lower():
        message = f"{_UNREACHED}{message.rpartition(': ')[2]}"
    return (
        "",
        message,
        "check that it runs there (`make up` starts polybatch), or set "
        f"POLYBATCH_{server.upper()}.",
    )


def _details(call: FailedCall) -> _Details:
    # Most commands see no error, and are a twentieth faster without these.
    from google.rpc import error_details_pb2  # type: ignore[import-untyped]
    from grpc_status import rpc_status  # type: ignore[import-untyped]

    found = _Details()
    try:
        status = rpc_status.from_call(call)
    except ValueError:
        # A proxy on the way replaced code or message: the details are of another status.
        return found
    for packed in status.details if status is not None else ():
        if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            packed.Unpack(info)
            found.reason = info.reason
            found.metadata = dict(info.metadata)
        elif packed.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad_request = error_details_pb2.BadRequest()
            packed.Unpack(bad_request)
            found.violations = list(bad_request.field_violations)
        elif packed.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry_info = error_details_pb2.RetryInfo()
            packed.Unpack(retry_info)
            found.retry_after = retry_info.retry_delay.ToTimedelta().total_seconds()
    return found


_PLACE = re.compile(r"line (\d+)(?:: (.*))?")


def _line_problem(violation: Any) -> LineProblem:
    """A violation's field is "line 7: body.model", or "line 7" for the line as a whole."""
    match = _PLACE.fullmatch(violation.field)
    line, path = (int(match[1]), match[2] or "") if match else (0, violation.field)
    return LineProblem(
        line=line,
        custom_id="",
        field=path,
        reason=violation.reason,
        message=violation.description,
    )
