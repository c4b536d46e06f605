"""What an error answer of a provider says, and whether the same may fare better later."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

LONGEST_WAIT = 7 * 86400
"""Seconds; a provider that asks to wait for longer is taken to be confused."""

PASSING_STATUSES = frozenset({402, 408, 409, 425, 429, 499})
"""Beside all from 500 on. 402: until the account is paid for; 499 is Google's: the call was
cancelled."""
PASSING_CODES = frozenset(
    {
        "api_error",
        "billing_error",
        "billing_hard_limit_reached",
        "insufficient_quota",
        "overloaded_error",
        "rate_limit_error",
        "rate_limit_exceeded",
        "request_timeout",
        "server_error",
        "timeout_error",
        "token_limit_exceeded",
    }
)


def is_transient(status: int, code: str = "") -> bool:
    """Whether the same request may fare better later, by HTTP status or error code."""
    return status in PASSING_STATUSES or status >= 500 or code in PASSING_CODES


def is_redirect(status: int) -> bool:
    """Whether the answer points elsewhere: no provider's, but of what is in front of it (a proxy's
    page to sign in, an address that has moved), which may go again."""
    return 300 <= status < 400


_ACCESS_STATUSES = frozenset({401, 403})
# Google answers 400 for a key that it does not know. [google.rpc.ErrorInfo of the Gemini API]
_ACCESS_CODES = frozenset({"API_KEY_INVALID", "invalid_api_key", "authentication_error"})


def is_access(status: int, code: str = "") -> bool:
    """Whether it is the key that was refused, and not what it was used for."""
    return status in _ACCESS_STATUSES or code in _ACCESS_CODES


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """What the body of an error answer says. Texts are empty where it says nothing."""

    code: str = ""
    message: str = ""
    documented: bool = False
    """True: the vendors' own envelope; False: what a proxy before them may have written."""
    retry_after: float | None = None
    """Seconds."""
    status: int = 0
    """The HTTP status that the body names as its code or status; 0: it names none."""


_NOTHING = ErrorAnswer()
_decoder = msgspec.json.Decoder()


def read_error(body: bytes) -> ErrorAnswer:
    """Read the body of an error answer, in whatever form it is.

    {"error": {"message", "type", "code", "param"}} is the envelope of OpenAI and its
    kin, and of Anthropic; Google's has a number for code, "status" and "details".
    """
    try:
        found: Any = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _NOTHING
    return error_in(found)


def error_in(body: Any) -> ErrorAnswer:
    """As read_error, of a body that was decoded."""
    match body:
        case [first, *_]:
            body = first
    match body:
        case {"error": {"message": str(message)} as error}:
            message = message.strip()
            param = error.get("param")
            if isinstance(param, str) and param and param not in message:
                message = f"{message or 'no message'} ({param})"
            return ErrorAnswer(_code(error), message, True, _retry_info(error), _status(error))
        case {"error": dict() as error}:
            code = _code(error)
            return ErrorAnswer(code, code, bool(code), _retry_info(error), _status(error))
        case {"error": str(message)} | {"message": str(message)} | {"detail": str(message)}:
            return ErrorAnswer(_code(body), message.strip(), status=_status(body))
        case {"detail": [{"msg": str(message)}, *_]}:
            # Of servers made with FastAPI, such as Mistral's and vLLM's.
            return ErrorAnswer(_code(body), message.strip(), status=_status(body))
    return _NOTHING


def _status(error: dict[str, Any]) -> int:
    for name in ("code", "status", "status_code"):
        match error.get(name):
            case int(number) if 400 <= number < 600:
                return number
            case str(text) if len(text) == 3 and text.isdecimal() and "400" <= text < "600":
                return int(text)
    return 0


def _code(error: dict[str, Any]) -> str:
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        match detail:
            case {"reason": "API_KEY_INVALID"}:
                return "API_KEY_INVALID"
    for name in ("code", "status", "type"):
        code = error.get(name)
        if isinstance(code, str) and code and not code.isdigit():
            return code
    return ""


def _retry_info(error: dict[str, Any]) -> float | None:
    """google.rpc.RetryInfo: {"retryDelay": "34s"} among the details."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        match detail:
            case {"retryDelay": str(delay)}:
                return _seconds(delay.removesuffix("s"))
    return None


def parse_retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds to wait, from retry-after-ms or Retry-After (seconds or an HTTP date).

    A date is of the provider's clock, and is taken from its own Date, where it gives one: ours
    may be off by more than the wait. `now`: ours.
    """
    sent = http_date(headers.get("date", ""))
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        waits = [
            _wait(value, scale, now if sent is None else sent)
            for value in _REPEATED.split(headers.get(name, ""))
        ]
        told = [seconds for seconds in waits if seconds is not None]
        if told:
            return max(told)
    return None


_REPEATED = re.compile(r"(?<=[\d.T]),\s*")
"""Between the values of a header that came twice, of the server and of the gateway before it; not
within a date, whose comma stands behind the name of a day."""


def _wait(value: str, scale: float, now: float) -> float | None:
    try:
        float(value)
    except ValueError:
        until = http_date(value)
        return None if until is None else _seconds(str(until - now))
    return _seconds(value, scale)


def http_date(value: str) -> float | None:
    """An HTTP date, in seconds since 1970."""
    try:
        moment = parsedate_to_datetime(value)
        # "-0000" is read as no zone at all; HTTP dates have one, whatever they call it.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _seconds(value: str, scale: float = 1.0) -> float | None:
    try:
        seconds = float(value) / scale
    except ValueError:
        return None
    # NaN and infinity are floats too.
    return seconds if 0 <= seconds < LONGEST_WAIT else None
