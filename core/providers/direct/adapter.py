"""Any server that answers single calls in OpenAI's form: vLLM, Ollama, llama.cpp, gateways.

Facts: OpenAI's API reference (headers, error codes), vLLM's and Ollama's documentation of
their OpenAI-compatible servers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import partial

import msgspec

from core.endpoints import CHAT_COMPLETIONS, RESPONSES
from core.providers.catalogue import find_model
from core.providers.contract import LineRejected, OutcomeUnknown, ProviderLimits
from core.providers.direct.contract import Answered, CallLimits, CallOutcome
from core.providers.direct.exchange import call_once, one_line
from core.providers.http.client import ProviderHttp
from core.providers.http.transport import Reply
from core.providers.openai.bodies import FALSE, refuse_streaming
from core.providers.openai.nulls import SHAPES, drop_nulls
from core.providers.openai.rows import read_row
from core.providers.result_lines import UnreadableLine
from core.providers.translation import Note
from core.providers.translation.responses import LimitField, as_response, through_chat

SHARD_LINES = 5_000
SHARD_BYTES = 200_000_000
CONCURRENCY = 16

_LONGEST_PAUSE = 60.0
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


class OpenAICalls:
    """A server with OpenAI's chat completions or embeddings, with a key or without."""

    def __init__(
        self,
        http: ProviderHttp,
        *,
        slug: str,
        limits: ProviderLimits,
        call_limits: CallLimits,
        urls: Mapping[str, str],
        translates_responses: bool = False,
        limit_field: LimitField = "max_completion_tokens",
        drops_nulls: bool = False,
        left_out: Collection[str] = (),
    ) -> None:
        """`urls`: our endpoints to paths under the base URL, where these are not the
        endpoint without its /v1. `translates_responses`: the server has no /v1/responses, such
        requests are sent as chat completions, whose limit of tokens is called `limit_field`.
        `drops_nulls`: as of Dialect. `left_out`: members of
        requests that are not sent."""
        self.name = slug
        self.limits = limits
        self.call_limits = call_limits
        self._http = http
        self._paths = {url: urls.get(url, url.removeprefix("/v1")) for url in limits.endpoints}
        self._translated = RESPONSES if translates_responses else ""
        self._limit_field = limit_field
        self._drops_nulls = drops_nulls
        self._left_out = left_out
        if translates_responses:
            self._paths[RESPONSES] = self._paths[CHAT_COMPLETIONS]

    def remote_model(self, model: str) -> str:
        """The provider's id of the user's model ("local/llama3.2" -> "llama3.2")."""
        return find_model(self.name, model).id

    def encode_body(self, url: str, model: str, body: bytes, *, lenient: bool = False) -> bytes:
        """The request with the provider's own model id, the rest as it came.

        `lenient`: of a Responses request that is translated. Raises LineRejected.
        """
        if url == self._translated:
            encode = partial(self._encode_chat, model)
            return through_chat(encode, body, lenient=lenient, limit_field=self._limit_field)[0]
        if url not in self._paths:
            raise LineRejected("url", "unsupported_endpoint", f"{self.name} has no {url}.")
        try:
            fields = _fields.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise LineRejected("body", "invalid_json", f"The body is unreadable: {error}") from None
        refuse_streaming(fields.get("stream", FALSE))
        if self._drops_nulls and url in SHAPES and b"null" in body:
            fields = drop_nulls(fields, SHAPES[url])
        for name in self._left_out:
            fields.pop(name, None)
        fields["model"] = msgspec.Raw(_encode(self.remote_model(model)))
        return _encode(fields)

    def _encode_chat(self, model: str, body: bytes) -> tuple[bytes, Sequence[Note]]:
        return self.encode_body(CHAT_COMPLETIONS, model, body), ()

    async def call(self, call_id: str, url: str, body: bytes) -> CallOutcome:
        """Make one call, once."""
        headers = {"x-client-request-id": call_id}
        return await call_once(
            self._http, self._paths[url], body, headers, partial(self._answered, url)
        )

    def _answered(self, url: str, where: str, reply: Reply) -> Answered | OutcomeUnknown:
        try:
            line = read_row(_row(reply, one_line(reply)))
        except (UnreadableLine, msgspec.DecodeError):
            if reply.ok:
                return OutcomeUnknown(
                    self._http.say(where, "the answer is not in the documented form", reply)
                )
            # From something before the server: only its status says anything.
            error = {"message": f"status {reply.status}", "type": None, "code": None}
            line = read_row(_row(reply, _encode({"error": error})))
        if url == self._translated:
            line = as_response(line)
        assert line.response is not None, "the row was made with one"
        pause = asked_pause(reply.headers)
        return Answered(line.outcome, line.response, line.usage, pause, line.error)

    async def check(self) -> None:
        """Ask for the list of models, which every server with OpenAI's API has."""
        await self._http.call("GET", "/models", bool)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def _row(reply: Reply, body: bytes) -> bytes:
    """A reply as a row of a batch's output. `body`: JSON of one line."""
    return b'{"custom_id":"","response":{"status_code":%d,"request_id":%b,"body":%b}}' % (
        reply.status,
        _encode(reply.request_id),
        body,
    )


def asked_pause(headers: Mapping[str, str]) -> float:
    """Seconds until a rate limit that is used up allows more, by x-ratelimit-* headers.

    At most a minute: what is reset once a day may still have room for a call.
    """
    pause = 0.0
    for kind in ("requests", "tokens"):
        if headers.get(f"x-ratelimit-remaining-{kind}", "").strip() == "0":
            reset = headers.get(f"x-ratelimit-reset-{kind}", "").strip()
            pause = max(pause, _seconds(reset))
    return min(pause, _LONGEST_PAUSE)


def _seconds(duration: str) -> float:
    """A duration such as "6m0s", "120ms", "1.5s" or "2" (seconds); 0 for anything else."""
    if _DURATION.fullmatch(duration):
        return sum(float(count) * _SECONDS[unit] for count, unit in _PART.findall(duration))
    return float(duration) if re.fullmatch(r"\d+(\.\d+)?", duration) else 0.0
