"""Single calls to a provider that has batches, in the form of its batches.

A request is translated as for a batch's input, and its answer read as a batch's results are: a
line that is called by itself gets the very result that its batch would have given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import msgspec

from core.providers.contract import OutcomeUnknown, ProviderLimits, ResultLine
from core.providers.direct.contract import Answered, CallLimits, CallOutcome
from core.providers.direct.exchange import call_once, one_line
from core.providers.http.client import ProviderHttp
from core.providers.http.transport import Reply
from core.providers.result_lines import UnreadableLine

CUSTOM_ID = "call"
"""Of every call's line; behind it stands in which form the answer is wanted."""

_encode = msgspec.json.Encoder().encode


class Request(NamedTuple):
    """A line of a batch's input, taken apart."""

    custom_id: str
    path: str
    """Of the call, under the base URL."""
    body: bytes


@dataclass(frozen=True, slots=True)
class CallForm:
    """How a provider's lines become calls, and its answers results."""

    encode: Callable[[str, str, bytes, bool], bytes]
    """Takes url, model as named in the file, body, and whether leniently; gives a line of a
    batch's input. Raises LineRejected."""
    take_apart: Callable[[bytes], Request]
    row: Callable[[Request, bool, bytes], bytes]
    """Takes the request, whether it succeeded, and the answer's body (JSON of one line); gives a
    line of a batch's results. Raises msgspec.DecodeError."""
    refusal: Callable[[int], bytes]
    """An error in the provider's form for a status without one."""
    read: Callable[[Request, bytes], ResultLine]
    """Reads the line that `row` gave. Raises UnreadableLine."""
    remote_model: Callable[[str], str]


class TranslatedCalls:
    """A provider's real-time endpoints with one key."""

    def __init__(
        self,
        http: ProviderHttp,
        form: CallForm,
        *,
        slug: str,
        limits: ProviderLimits,
        call_limits: CallLimits,
    ) -> None:
        self.name = slug
        self.limits = limits
        self.call_limits = call_limits
        self._http = http
        self._form = form

    def remote_model(self, model: str) -> str:
        """The provider's id of the user's model."""
        return self._form.remote_model(model)

    def encode_body(self, url: str, model: str, body: bytes, *, lenient: bool = False) -> bytes:
        """The line that a batch's input would have of a request. Raises LineRejected."""
        return self._form.encode(url, model, body, lenient)

    async def call(self, call_id: str, url: str, body: bytes) -> CallOutcome:
        """Make one call, once."""
        request = self._form.take_apart(body)
        return await call_once(
            self._http, request.path, request.body, {}, partial(self._answered, request)
        )

    def _answered(self, request: Request, where: str, reply: Reply) -> Answered | OutcomeUnknown:
        form = self._form
        try:
            line = form.read(request, form.row(request, reply.ok, one_line(reply)))
        except (UnreadableLine, msgspec.DecodeError):
            if reply.ok:
                text = "the answer is not in the documented form"
                return OutcomeUnknown(self._http.say(where, text, reply))
            # From something before the server: only its status says anything.
            line = form.read(request, form.row(request, False, form.refusal(reply.status)))
        response = line.response or _encode(
            {"status_code": reply.status, "request_id": reply.request_id, "body": None}
        )
        return Answered(line.outcome, response, line.usage, error=line.error)

    async def check(self) -> None:
        """Nothing: the key is tried by the adapter of its batches."""

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()
