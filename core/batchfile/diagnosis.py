"""The full examination of one line: every problem of it, in words.

The scanner sends here what its fast path does not take, so this may be slow, but it
must not be fooled: whatever bytes come, the answer is a verdict, never an exception.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

import msgspec
from msgspec import UNSET, Raw, UnsetType

from core.batchfile.closer import doubled_keys, lone_surrogate
from core.batchfile.index import INVALID, LENIENT
from core.batchfile.problems import Problem
from core.batchfile.rules import Rules
from core.batchfile.schema import (
    BOM,
    CHAT_COMPLETIONS,
    EMBEDDINGS,
    ENDPOINTS,
    MAX_CUSTOM_ID,
    MAX_MODEL,
    Input,
    KnownFieldsOnly,
    LooseBody,
    LooseLine,
    Messages,
    custom_id_of,
    is_mixture,
)
from core.json_depth import MAX_DEPTH, deeper_than

_QUOTED = 80
_KINDS = {
    ord("{"): "an object",
    ord("["): "an array",
    ord('"'): "a string",
    ord("t"): "true",
    ord("f"): "false",
    ord("n"): "null",
}
_PLACE = re.compile(r"`\$(?P<path>[^`]*)`$")

_line = msgspec.json.Decoder(LooseLine)
_known_only = msgspec.json.Decoder(KnownFieldsOnly)
_body = msgspec.json.Decoder(LooseBody)
_text = msgspec.json.Decoder(str)
_messages: msgspec.json.Decoder[object] = msgspec.json.Decoder(Messages)
_input: msgspec.json.Decoder[object] = msgspec.json.Decoder(Input)


@dataclass(slots=True)
class Verdict:
    """What one line turned out to be. Texts are empty where they cannot be told."""

    line: int
    custom_id: str = ""
    stated_provider: str | None = None
    """As the line has it."""
    provider: str = ""
    model: str = ""
    url: str = ""
    problems: list[Problem] = field(default_factory=list)
    id_is_whole: bool = True
    """False where `custom_id` is only the start of one that is too long."""

    @property
    def flags(self) -> int:
        """Those of the line's index record."""
        errors = [problem for problem in self.problems if problem.severity == "error"]
        if not errors:
            return 0
        return LENIENT if all(problem.lenient for problem in errors) else INVALID

    def error(self, field: str, reason: str, message: str) -> None:
        self.problems.append(Problem(self.line, self.custom_id, field, reason, message))

    def warning(self, field: str, reason: str, message: str) -> None:
        self.problems.append(Problem(self.line, self.custom_id, field, reason, message, "warning"))


def examine(
    raw: bytes, line: int, endpoint: str, rules: Rules, max_depth: int = MAX_DEPTH
) -> Verdict:
    """Examine one line that is not blank.

    `endpoint`: the url that all lines of the file have, or "" before the first valid one.
    `max_depth`: levels of lists and objects that the line may have.
    """
    verdict = Verdict(line, custom_id_of(raw))
    found = _take_apart(raw, verdict, max_depth)
    if found is None:
        return verdict
    _examine_custom_id(found.custom_id, verdict)
    _examine_method(found.method, verdict)
    _examine_url(found.url, endpoint, verdict)
    _examine_provider(found.provider, rules, verdict)
    _examine_body(found.body, rules, verdict)
    _examine_support(rules, verdict)
    _examine_other_fields(raw, verdict)
    verdict.problems += doubled_warnings(raw, line, verdict.custom_id)
    return verdict


def doubled_warnings(raw: bytes, line: int, custom_id: str) -> list[Problem]:
    """A warning for each key that comes twice in an object of a line."""
    return [
        Problem(
            line,
            custom_id,
            path,
            "doubled_key",
            f"{_quote(path)} comes more than once, and the last one counts; expected it once",
            "warning",
        )
        for path in doubled_keys(raw)
    ]


def _take_apart(raw: bytes, verdict: Verdict, max_depth: int) -> LooseLine | None:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        if _names_half(raw, verdict):
            return None
        hint = " (the file looks like UTF-16)" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        verdict.error(
            "",
            "invalid_utf8",
            f"byte {error.start} of the line is not UTF-8{hint}; expected UTF-8 text",
        )
        return None
    if raw.startswith(BOM):
        verdict.error(
            "",
            "byte_order_mark",
            "the line starts with a byte-order mark; expected one at most at the file's start",
        )
        return None
    try:
        if raw.lstrip().startswith(b"{") and deeper_than(raw, max_depth):
            raise RecursionError
        return _line.decode(raw)
    except msgspec.ValidationError:
        kind = _kind(raw.lstrip())
        verdict.error("", "not_an_object", f"the line is {kind}; expected a JSON object")
    except RecursionError:
        verdict.error(
            "",
            "nested_too_deeply",
            f"the JSON is nested too deeply; expected {max_depth} levels at most",
        )
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if _names_half(raw, verdict):
            return None
        verdict.error("", "invalid_json", f"not JSON: {error}; expected one JSON object a line")
    return None


def _names_half(raw: bytes, verdict: Verdict) -> bool:
    """Whether it is only half of a character, a lone surrogate, that spoils the line."""
    half = lone_surrogate(raw)
    if half is None:
        return False
    field, code, custom_id = half
    # Not counted among the ids of the file: its line cannot be read by anybody else.
    verdict.custom_id, verdict.id_is_whole = custom_id[:MAX_CUSTOM_ID], False
    where = field or "the line"
    verdict.error(
        field,
        "lone_surrogate",
        f"{where} holds {code} alone, which is half of a character; expected both halves, or none",
    )
    return True


def _examine_custom_id(raw: Raw | UnsetType, verdict: Verdict) -> None:
    custom_id = _string(raw, "custom_id", verdict)
    if custom_id is not None and len(custom_id) > MAX_CUSTOM_ID:
        verdict.id_is_whole = False
        verdict.error(
            "custom_id",
            "custom_id_too_long",
            f"custom_id has {len(custom_id)} characters; expected at most {MAX_CUSTOM_ID}",
        )


def _examine_method(raw: Raw | UnsetType, verdict: Verdict) -> None:
    method = _string(raw, "method", verdict)
    if method is not None and method != "POST":
        verdict.error(
            "method", "unsupported_method", f'method is {_quote(method)}; expected "POST"'
        )


def _examine_url(raw: Raw | UnsetType, endpoint: str, verdict: Verdict) -> None:
    url = _string(raw, "url", verdict)
    if url is None:
        return
    if url not in ENDPOINTS:
        expected = " or ".join(_quote(known) for known in ENDPOINTS)
        verdict.error("url", "unsupported_url", f"url is {_quote(url)}; expected {expected}")
        return
    verdict.url = url
    if endpoint and url != endpoint:
        verdict.error(
            "url",
            "url_mismatch",
            f"url is {_quote(url)}; expected {_quote(endpoint)} as in the lines before",
        )


def _examine_provider(raw: Raw | UnsetType, rules: Rules, verdict: Verdict) -> None:
    if not _is_there(raw) or bytes(raw) == b"null":
        return
    provider = _string(raw, "provider", verdict)
    if provider is None:
        # Something is there, so the body is not told that a provider is missing.
        verdict.stated_provider = ""
        return
    verdict.stated_provider = provider
    if provider in rules.providers:
        verdict.provider = provider
    else:
        verdict.error(
            "provider",
            "unknown_provider",
            f"provider is {_quote(provider)}; expected {_slugs(rules.providers)}",
        )


def _examine_body(raw: Raw | UnsetType, rules: Rules, verdict: Verdict) -> None:
    if not _is_there(raw):
        verdict.error("body", "missing_field", "body is missing; expected an object")
        return
    try:
        body = _body.decode(raw)
    except msgspec.ValidationError:
        verdict.error("body", "wrong_type", f"body is {_kind(raw)}; expected an object")
        return
    model = _string(body.model, "body.model", verdict)
    if model is not None:
        _examine_model(model, rules, verdict)
    if verdict.url == CHAT_COMPLETIONS:
        _examine_list(body.messages, _messages, "body.messages", _MESSAGES_EXPECTED, verdict)
    elif verdict.url == EMBEDDINGS:
        found = _examine_list(body.input, _input, "body.input", _INPUT_EXPECTED, verdict)
        if is_mixture(found):
            verdict.error(
                "body.input", "wrong_type", f"body.input is a mixture; expected {_INPUT_EXPECTED}"
            )
    _examine_stream(body.stream, verdict)


_MESSAGES_EXPECTED = "a list of at least one object"
_INPUT_EXPECTED = (
    "a string that is not empty, or a list of such strings, of token ids or of lists of token ids"
)


def _examine_model(model: str, rules: Rules, verdict: Verdict) -> None:
    verdict.model = model
    if len(model) > MAX_MODEL:
        verdict.error(
            "body.model",
            "model_too_long",
            f"body.model has {len(model)} characters; expected at most {MAX_MODEL}",
        )
    if not model.isprintable():
        # It becomes a column of the ledger, a label of metrics and a part of addresses.
        verdict.error(
            "body.model",
            "invalid_model",
            "body.model holds control characters; expected printable ones",
        )
    prefix, slash, name = model.partition("/")
    if not slash or prefix not in rules.providers:
        if verdict.stated_provider is None:
            verdict.error(
                "provider",
                "missing_field",
                f"provider is missing and the model {_quote(model)} has no provider's prefix; "
                f"expected provider to be {_slugs(rules.providers)}",
            )
        return
    if not name:
        verdict.error(
            "body.model",
            "empty_field",
            f'body.model is {_quote(model)}; expected a name after "{prefix}/"',
        )
    if verdict.stated_provider is None:
        verdict.provider = prefix
    elif verdict.provider and verdict.provider != prefix:
        verdict.error(
            "body.model",
            "model_provider_mismatch",
            f"body.model is {_quote(model)} while provider is {_quote(verdict.provider)}; "
            "expected the model's prefix to be the provider",
        )


def _examine_list(
    raw: Raw | UnsetType,
    decoder: msgspec.json.Decoder[object],
    path: str,
    expected: str,
    verdict: Verdict,
) -> object:
    if not _is_there(raw):
        verdict.error(path, "missing_field", f"{path} is missing; expected {expected}")
        return None
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        place = _PLACE.search(str(error))
        bad = path + (place["path"] if place else "")
        what = "does not fit" if place else f"is {_kind(raw)}"
        if "of length >= 1" in str(error):
            verdict.error(bad, "empty_field", f"{bad} is empty; expected {path} to be {expected}")
        else:
            verdict.error(bad, "wrong_type", f"{bad} {what}; expected {path} to be {expected}")
    except UnicodeDecodeError:
        verdict.error(path, "wrong_type", f"{path} is not text; expected {expected}")
    return None


def _examine_stream(raw: Raw | UnsetType, verdict: Verdict) -> None:
    if not _is_there(raw) or bytes(raw) in (b"false", b"null"):
        return
    if bytes(raw) == b"true":
        verdict.error(
            "body.stream",
            "streaming_unsupported",
            "body.stream is true; expected false or no such field, as batches do not stream",
        )
    else:
        verdict.error(
            "body.stream",
            "wrong_type",
            f"body.stream is {_kind(raw)}; expected false or no such field",
        )


def _examine_support(rules: Rules, verdict: Verdict) -> None:
    provider, url = verdict.provider, verdict.url
    if not provider or not url or url in rules.providers[provider]:
        return
    others = {slug: urls for slug, urls in rules.providers.items() if url in urls}
    verdict.error(
        "url",
        "endpoint_not_supported",
        f"the provider {_quote(provider)} does not offer {url}; "
        + (
            f"expected the provider to be {_slugs(others)}"
            if others
            else "expected another url, as no provider does"
        ),
    )


def _examine_other_fields(raw: bytes, verdict: Verdict) -> None:
    try:
        _known_only.decode(raw)
    except msgspec.ValidationError as error:
        # msgspec names the first such field, between backticks, and only in the text.
        name = str(error).partition("`")[2].rpartition("`")[0]
        verdict.warning(
            name[:_QUOTED],
            "unknown_field",
            f"the field {_quote(name)} is ignored; "
            "expected custom_id, provider, method, url and body only",
        )


def _string(raw: Raw | UnsetType, path: str, verdict: Verdict) -> str | None:
    """The field as a string that is not empty; None with a problem otherwise."""
    if not _is_there(raw):
        verdict.error(path, "missing_field", f"{path} is missing; expected a string")
        return None
    try:
        found = _text.decode(raw)
    except msgspec.ValidationError:
        verdict.error(path, "wrong_type", f"{path} is {_kind(raw)}; expected a string")
        return None
    except (msgspec.DecodeError, UnicodeDecodeError):
        verdict.error(path, "wrong_type", f"{path} is not text; expected a string")
        return None
    if not found:
        verdict.error(path, "empty_field", f"{path} is empty; expected a string")
        return None
    return found


def _is_there(raw: Raw | UnsetType) -> TypeGuard[Raw]:
    return raw is not UNSET


def _kind(raw: Raw | bytes) -> str:
    return _KINDS.get(memoryview(raw)[0], "a number")


def _quote(text: str) -> str:
    shown = text if len(text) <= _QUOTED else text[:_QUOTED] + "…"
    return f'"{shown}"'


def _slugs(providers: Mapping[str, object]) -> str:
    return " or ".join(_quote(slug) for slug in sorted(providers))
