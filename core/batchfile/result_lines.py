"""The line of a result file, as the user gets it.

    {"id", "custom_id", "model", "response": {"status_code", "request_id", "body"} | null,
     "error": {"code", "message"} | null, "attempts", "cost"}

The form is that of OpenAI's batch output file, whatever the provider. Of a line that failed
`error` is never null, also beside a response. Five keys are ours:
`model`, the one that was asked for (lines that failed the check at upload lack it);
`attempts`, how often the line was sent to its provider; `cost`, what that cost in USD, exact to
the nano-dollar, 0 where nothing was run and null where tokens were used that have no price; and,
only where a lenient translation left something out, `dropped`, the paths of that. A line that took
the answer of an equal one names that line's `id` in `reused_from`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

import msgspec

RESULT_MISSING = "result_missing"
"""The code of a line that its provider gave no result for: it may have been run and paid for."""
COST_LIMIT = "cost_limit"
"""The code of a line that was not sent, as it could have brought its batch past its max cost."""

_NULL = b"null"
_COST = re.compile(rb',"cost":(null|\d+(?:\.\d+)?)\}\n?\Z')
_COST_WITHIN = 60
_NANO = 10**9
_encode = msgspec.json.Encoder().encode


def answer_line(
    batch_id: str,
    line: int,
    custom_id: str,
    response: bytes | None,
    error: bytes | None,
    *,
    model: str = "",
    attempts: int = 0,
) -> bytes:
    """Make the result line of a request that was not run, or cost nothing, without newline.

    `response` and `error` are JSON ready to be written; `line` is the 1-based number of
    the input line, which makes the id stable however often the line was run. `model`
    as named in the file; empty where it cannot be told.
    """
    tail = answer_tail(response, error, attempts)
    return LineMaker(batch_id, [model]).line(line, custom_id, 0, tail, 0)[:-1]


@lru_cache(maxsize=4096)
def _model_member(model: str) -> bytes:
    return b'"model":%s,' % _encode(model)


def answer_tail(response: bytes | None, error: bytes | None, attempts: int) -> bytes:
    """The part of a result line that comes from the provider, without newline."""
    return b'"response":%s,"error":%s,"attempts":%d}' % (
        response or _NULL,
        error or _NULL,
        attempts,
    )


class LineMaker:
    """Makes whole result lines, for who writes many of a batch: what they share is made once."""

    def __init__(self, batch_id: str, models: Sequence[str]) -> None:
        """`models`: as named in the file, by group; empty where one cannot be told."""
        self._start = b'{"id":"%b-' % batch_id.encode()
        self._models = [_model_member(model) if model else b"" for model in models]

    def line(
        self,
        number: int,
        custom_id: str,
        group: int,
        tail: bytes,
        nanos: int | None,
        dropped: bytes | None = None,
    ) -> bytes:
        """One with its newline, of the tail that `answer_tail` or `reused_tail` made.

        `nanos`: nano-dollars; None: unpriced. `dropped`: JSON, a list of paths.
        """
        return b'%b%d","custom_id":%b,%b%b%b,"cost":%b}\n' % (
            self._start,
            number,
            _encode(custom_id),
            self._models[group],
            b'"dropped":%b,' % dropped if dropped else b"",
            tail[:-1],
            _usd(nanos),
        )


class _Lent(msgspec.Struct):
    id: str
    response: msgspec.Raw
    error: msgspec.Raw
    dropped: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_lent = msgspec.json.Decoder(_Lent).decode


def reused_tail(line: bytes) -> bytes:
    """The tail of a result line that takes the answer of another one, for `LineMaker`.

    Raises msgspec.DecodeError for what is no result line.
    """
    lent = _decode_lent(line)
    dropped = lent.dropped
    return b'%s"response":%s,"error":%s,"attempts":0,"reused_from":%s}' % (
        b"" if dropped is msgspec.UNSET else b'"dropped":%s,' % bytes(dropped),
        bytes(lent.response),
        bytes(lent.error),
        _encode(lent.id),
    )


def cost_of(line: bytes) -> int | None:
    """Nano-dollars of a result line; None: unpriced. Of a line of before costs were kept, 0."""
    found = _find_cost(line)
    if found is None:
        return 0
    return None if found[1] == _NULL else int(Decimal(found[1].decode()) * _NANO)


def add_cost(line: bytes, nanos: int | None) -> bytes:
    """A result line, with newline, that cost so much more: in an attempt that is not in it."""
    found = _find_cost(line)
    if found is None or nanos == 0:
        return line
    before = cost_of(line)
    total = None if nanos is None or before is None else before + nanos
    return b'%b,"cost":%b}\n' % (line[: found.start()], _usd(total))


def _find_cost(line: bytes) -> re.Match[bytes] | None:
    # Only the last member: a provider's own form may have a "cost" as well.
    return _COST.search(line, max(0, len(line) - _COST_WITHIN))


def _usd(nanos: int | None) -> bytes:
    """USD as JSON: exact, without an exponent."""
    if not nanos:
        return _NULL if nanos is None else b"0"
    if nanos < _NANO:
        return (b"0.%09d" % nanos).rstrip(b"0")
    whole, rest = divmod(nanos, _NANO)
    return (b"%d.%09d" % (whole, rest)).rstrip(b"0").rstrip(b".") if rest else b"%d" % whole


def error_json(code: str, message: str) -> bytes:
    """The `error` of a line that failed."""
    return _encode({"code": code, "message": message})
