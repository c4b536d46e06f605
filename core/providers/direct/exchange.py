"""One call to a provider, made once, and what its answer means for the line and for the pace.

What decides about money: an answer that says that the call was not run (429, 503 and the like)
costs nothing; one that did not come may have been paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec

from core.json_depth import deeper_than
from core.prices.usage import NO_USAGE
from core.providers.contract import OutcomeUnknown
from core.providers.direct.contract import Answered, CallOutcome, Throttled
from core.providers.http.call_metrics import Broken, HeldBack, NotSent
from core.providers.http.client import ProviderHttp
from core.providers.http.replies import told, was_given_up
from core.providers.http.transport import Reply
from core.providers.provider_errors import ErrorAnswer, is_access, is_redirect, read_error
from core.providers.result_lines import UnreadableLine, is_utf8, whole_surrogates

# Not run, and not the line's fault: a key that is refused or has no money left, a limit,
# an overload (529 is Anthropic's, and that of gateways before it).
_NOT_NOW = frozenset({401, 402, 429, 503, 529})
_NO_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_error"})

Read: TypeAlias = Callable[[str, Reply], Answered | OutcomeUnknown]
"""Makes a result of an answer to a call that was run, or refused for good. Takes a name for the
call, such as "POST /responses", and the reply."""


async def call_once(
    http: ProviderHttp, path: str, content: bytes, headers: Mapping[str, str], read: Read
) -> CallOutcome:
    """POST one request, once."""
    where = f"POST {path}"
    try:
        reply = await http.exchange(path, content, headers)
    except HeldBack as error:
        return Throttled(str(error), error.retry_after)
    except NotSent as error:
        return Throttled(http.say(where, str(error)), reachable=False)
    except Broken as error:
        return OutcomeUnknown(http.say(where, str(error)))
    if reply.ok:
        answered = read(where, reply)
        if isinstance(answered, Answered) and answered.error and answered.usage == NO_USAGE:
            # Gateways say 200 before they know, and what went wrong only in the body.
            found = read_error(reply.body)
            return _throttled(http, where, reply, found, found.status) or answered
        return answered
    throttled = _throttled(http, where, reply, reply.error, reply.status)
    if throttled is not None:
        return throttled
    if was_given_up(reply) or (reply.status >= 500 and not reply.error.documented):
        text = reply.error.message or f"status {reply.status}"
        return OutcomeUnknown(http.say(where, text, reply))
    return read(where, reply)


def _throttled(
    http: ProviderHttp, where: str, reply: Reply, error: ErrorAnswer, status: int
) -> Throttled | None:
    """What an error says if it is that the call was not run, and not the line's fault."""
    code = error.code
    elsewhere = is_redirect(status) and not error.documented
    if not (status in _NOT_NOW or elsewhere or code in _NO_MONEY or is_access(0, code)):
        return None
    text = error.message or (told(reply) if elsewhere else f"status {status}")
    reason = http.say(where, f"{status}: {text}" if error.message and status else text, reply)
    refused = is_access(status, code) and code not in _NO_MONEY
    return Throttled(
        reason, reply.retry_after, key_refused=(code or "refused_key") if refused else ""
    )


def one_line(reply: Reply) -> bytes:
    """The body of a reply as JSON of one line, which a row of results can hold.

    Raises UnreadableLine, msgspec.DecodeError.
    """
    body = whole_surrogates(reply.body)
    if not is_utf8(body) or deeper_than(body):
        raise UnreadableLine
    if b"\n" in body or b"\r" in body:
        # Laid out to be read; a result is one line.
        return msgspec.json.format(body, indent=-1)
    return body
