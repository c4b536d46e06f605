"""What an answer that is no success means, in words that never hold the key."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import replace

from core.providers.contract import OutcomeUnknown, ProviderRejected, ProviderUnavailable, Refused
from core.providers.http.transport import Reply
from core.providers.provider_errors import is_access, is_redirect, is_transient

MAX_MESSAGE_CHARS = 1000
# 499 is Google's: the call was cancelled, at whatever point.
_GIVEN_UP = frozenset({408, 499, 504})
# A shorter key is a word, as servers of one's own take it ("ollama", "lm-studio"): a model may say
# it, and an answer is to come as it was given. Vendors' keys have 32 characters or more.
_SHORTEST_IN_ANSWERS = 16
_SHORTEST_IN_ERRORS = 8
_TIME_OUTS = frozenset({"timeout_error", "request_timeout"})


class Answers:
    """Reads the answers of one provider; `secret` is left out of all that it says."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def of_create(self, where: str, reply: Reply) -> Refused | OutcomeUnknown:
        """What became of a create: OutcomeUnknown wherever the provider may have acted."""
        error = reply.error
        text = self.say(where, told(reply), reply)
        # Whoever sends us elsewhere may have passed the call on first, as a page does that answers
        # a form.
        strange = reply.status >= 500 or is_redirect(reply.status)
        if was_given_up(reply) or (strange and not error.documented):
            return OutcomeUnknown(text)
        transient = is_transient(reply.status, error.code)
        return Refused(
            error.code or f"http_{reply.status}",
            text,
            transient,
            reply.retry_after,
            access=is_access(reply.status, error.code),
        )

    def rejection(self, where: str, reply: Reply) -> ProviderUnavailable | ProviderRejected:
        """Why a repeatable call failed, as what is to be raised."""
        error = reply.error
        text = self.say(where, told(reply), reply)
        passes = is_transient(reply.status) or is_redirect(reply.status)
        # A conflict over a cancel (it has ended already) does not pass by trying again.
        if passes and reply.status != 409:
            return ProviderUnavailable(text, reply.retry_after)
        return ProviderRejected(error.code or f"http_{reply.status}", text, reply.status)

    def say(self, where: str, what: str, reply: Reply | None = None) -> str:
        """What happened in an exchange, human-readable: short, and without the key."""
        text = self.hide(f"{where}: {what}").replace("\0", "\ufffd")
        if len(text) > MAX_MESSAGE_CHARS:
            text = text[:MAX_MESSAGE_CHARS] + "…"
        if reply is not None and reply.request_id:
            text += f" (request id {self.hide(reply.request_id[:100])})"
        return text

    def hidden(self, reply: Reply) -> Reply:
        """The reply without the key."""
        if len(self._secret) < (_SHORTEST_IN_ANSWERS if reply.ok else _SHORTEST_IN_ERRORS):
            return reply
        return replace(
            reply,
            body=self._without_key(reply.body),
            headers={name: self.hide(value) for name, value in reply.headers.items()},
        )

    def hidden_body(self, body: bytes) -> bytes:
        """That of a success, without the key."""
        if len(self._secret) < _SHORTEST_IN_ANSWERS:
            return body
        return self._without_key(body)

    async def hidden_chunks(self, chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
        """The same of a body that comes in pieces, which may cut the key."""
        if len(self._secret) < _SHORTEST_IN_ANSWERS:
            async for chunk in chunks:
                yield chunk
            return
        secret, held = self._secret.encode(), b""
        async for chunk in chunks:
            whole = self._without_key(held + chunk if held else chunk)
            begun = next(
                (size for size in range(len(secret) - 1, 0, -1) if whole.endswith(secret[:size])), 0
            )
            held = whole[len(whole) - begun :]
            if passed := whole[: len(whole) - begun]:
                yield passed
        if held:
            yield held

    def _without_key(self, body: bytes) -> bytes:
        secret = self._secret.encode()
        return body.replace(secret, b"***") if secret in body else body

    def hide(self, text: str) -> str:
        """A text of ours, such as that of an error, without the key."""
        if len(self._secret) < _SHORTEST_IN_ERRORS:
            return text
        return text.replace(self._secret, "***")


def told(reply: Reply) -> str:
    """What an answer that is no success says, or its status where it says nothing."""
    if reply.error.message:
        return reply.error.message
    if is_redirect(reply.status):
        return (
            f"status {reply.status}: redirects are not followed, as they could carry the key "
            "elsewhere; is this the provider's address, and no proxy's page in front of it?"
        )
    return f"status {reply.status}"


def was_given_up(reply: Reply) -> bool:
    """Whether it says that the call took too long or was cancelled: whoever answers so does not
    know whether it was run."""
    return reply.status in _GIVEN_UP or reply.error.code in _TIME_OUTS
