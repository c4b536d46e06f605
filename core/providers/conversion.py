"""A request line from one API's form into another's, where nothing is lost.

The forms: OpenAI's batch line {"custom_id", "method", "url", "body"}, Anthropic's
{"custom_id", "params"}, Gemini's {"key", "request"}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Raw

from core.endpoints import CHAT_COMPLETIONS, MESSAGES, RESPONSES
from core.json_depth import MAX_DEPTH, deeper_than
from core.providers.anthropic.translation import translate_request as to_params
from core.providers.anthropic.translation.reverse import chat_request as from_params
from core.providers.catalogue import find_model
from core.providers.contract import LineRejected
from core.providers.gemini.request import translate_request as to_contents
from core.providers.gemini.reverse import chat_request as from_contents
from core.providers.translation.report import Note, Report, decode
from core.providers.translation.responses import through_chat

Fields = dict[str, Raw]

_fields = msgspec.json.Decoder(Fields)
_text = msgspec.json.Decoder(str)
_encode = msgspec.json.Encoder().encode


class Form(StrEnum):
    """Whose form a line has."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"


_HOLDS = {Form.OPENAI: "body", Form.ANTHROPIC: "params", Form.GEMINI: "request"}
_NAMES = {Form.OPENAI: "custom_id", Form.ANTHROPIC: "custom_id", Form.GEMINI: "key"}
_KNOWN = {
    Form.OPENAI: {"custom_id", "provider", "method", "url", "body"},
    Form.ANTHROPIC: {"custom_id", "params"},
    Form.GEMINI: {"key", "request"},
}
_PREFIXES = {Form.ANTHROPIC: ("claude-",), Form.GEMINI: ("gemini-", "models/")}


@dataclass(frozen=True, slots=True)
class Target:
    """What lines are to become."""

    form: Form | None
    """None: the one that they have."""
    model: str = ""
    """Instead of the line's own; empty: that."""
    provider: str = ""
    """Of lines in OpenAI's form; empty: what the line says."""
    lenient: bool = False
    """Leave out what has no equivalent, instead of refusing the line."""


def convert_line(raw: bytes, target: Target) -> tuple[bytes, Sequence[Note]]:
    """Convert one line; gives JSON without a newline, and what was left out or changed.

    A line that has the form and the model already stays as it is. Raises LineRejected.
    """
    try:
        raw.decode()
        if deeper_than(raw, MAX_DEPTH):
            raise RecursionError
        line = _fields.decode(raw)
    except RecursionError:
        text = f"Nested too deeply; expected {MAX_DEPTH} levels at most."
        raise LineRejected("", "nested_too_deeply", text) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LineRejected("", "invalid_json", f"Not one JSON object: {error}.") from None
    form = _form_of(line)
    to = target.form or form
    if form is Form.OPENAI and target.form is not None and _url(line) == MESSAGES:
        # OpenAI's line around Anthropic's params.
        around = {key: line[key] for key in line.keys() - _KNOWN[Form.OPENAI]}
        named = {"custom_id": line["custom_id"]} if "custom_id" in line else {}
        form, line = Form.ANTHROPIC, {**named, "params": line["body"], **around}
        raw = _encode(line)
    if form is to and not target.model and not target.provider:
        return raw, ()
    if form is to:
        return _encode(_with_model(form, line, target)), ()
    report = Report(target.lenient)
    for key in line:
        if key not in _KNOWN[form]:
            report.lose(key, "The other form has no such field.")
    held = line[_HOLDS[form]]
    custom_id = _custom_id(line, form)
    if to is Form.OPENAI:
        body = _chat_body(form, held, target, report)
        provider = target.provider or ("" if target.model else str(form))
        made: dict[str, Any] = {
            "custom_id": custom_id,
            **({"provider": provider} if provider else {}),
            "method": "POST",
            "url": CHAT_COMPLETIONS,
            "body": body,
        }
    else:
        if target.provider:
            raise LineRejected("provider", "unsupported_field", f"{to} lines name no provider.")
        made = _native(to, custom_id, *_as_chat(form, line, held, target, report), report)
    return _encode(made), report.notes


def _form_of(line: Fields) -> Form:
    found = [form for form, key in _HOLDS.items() if key in line]
    if len(found) != 1:
        raise LineRejected(
            "", "unknown_form", "A line holds one of body (OpenAI), params (Anthropic), request."
        )
    return found[0]


def _custom_id(line: Fields, form: Form) -> Raw:
    name = _NAMES[form]
    if name not in line:
        raise LineRejected(name, "missing_field", f"{name} is missing; expected a string.")
    if not decode(_text, line[name], name, "a string"):
        raise LineRejected(name, "empty_field", f"{name} is empty; expected a string.")
    return line[name]


def _with_model(form: Form, line: Fields, target: Target) -> dict[str, Any]:
    """The line with another model or provider."""
    made: dict[str, Any] = dict(line)
    if target.provider:
        if form is not Form.OPENAI:
            raise LineRejected("provider", "unsupported_field", f"{form} lines name no provider.")
        made["provider"] = target.provider
    if target.model:
        held = _HOLDS[form]
        content = decode(_fields, line[held], held, "an object")
        model = f"models/{_bare(form, target.model)}" if form is Form.GEMINI else target.model
        made[held] = {**content, "model": model}
    return made


def _chat_body(form: Form, held: Raw, target: Target, report: Report) -> dict[str, Any]:
    if target.model:
        given = decode(_fields, held, _HOLDS[form], "an object")
        held = Raw(_encode({**given, "model": target.model}))
    body = (from_params if form is Form.ANTHROPIC else from_contents)(held, report)
    if "model" not in body:
        path = f"{_HOLDS[form]}.model"
        raise LineRejected(path, "missing_field", "No model: name one with --model.")
    return body


def _as_chat(
    form: Form, line: Fields, held: Raw, target: Target, report: Report
) -> tuple[str, Raw, str]:
    """The url, the body of a request in OpenAI's form, and the model that it names."""
    if form is not Form.OPENAI:
        body = _chat_body(form, held, target, report)
        return CHAT_COMPLETIONS, Raw(_encode(body)), body["model"]
    url = _url(line)
    if url not in (CHAT_COMPLETIONS, RESPONSES):
        raise LineRejected(
            "url",
            "unsupported_endpoint",
            f"Only {CHAT_COMPLETIONS} and {RESPONSES} have an equivalent.",
        )
    given = decode(_fields, held, "body", "an object")
    model = target.model or decode(_text, given.get("model", Raw(b"0")), "body.model", "a string")
    return url, held, model


def _url(line: Fields) -> str:
    return decode(_text, line.get("url", Raw(_encode(CHAT_COMPLETIONS))), "url", "a string")


def _native(
    to: Form, custom_id: Raw, url: str, body: Raw, model: str, report: Report
) -> dict[str, Any]:
    bare = _bare(to, model)
    known = find_model(to, bare)
    if not known.listed and not bare.startswith(_PREFIXES[to]):
        raise LineRejected(
            "body.model",
            "model_of_another_provider",
            f"{model[:100]} is no model of {to}: name one with --model.",
        )

    def translate(chat: bytes | Raw) -> tuple[bytes, Sequence[Note]]:
        if to is Form.ANTHROPIC:
            return to_params(known, chat, lenient=report.lenient)
        return to_contents(known.id, chat, lenient=report.lenient)

    if url == RESPONSES:
        native, notes = through_chat(translate, body, lenient=report.lenient)
    else:
        native, notes = translate(body)
    report.notes += notes
    if to is Form.ANTHROPIC:
        return {"custom_id": custom_id, "params": Raw(native)}
    named = {"model": f"models/{known.id}"} | _fields.decode(native)
    return {"key": custom_id, "request": named}


def _bare(form: Form, model: str) -> str:
    return model.removeprefix(f"{form}/").removeprefix("models/")
