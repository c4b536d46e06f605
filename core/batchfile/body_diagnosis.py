"""The full examination of a line's body: model, provider, and what its endpoint wants."""

from __future__ import annotations

import re

import msgspec
from msgspec import UNSET, Raw, UnsetType

from core.batchfile.bodies import BY_URL, MAX_MODEL, Field, is_mixture
from core.batchfile.rules import Rules
from core.batchfile.schema import NAMES
from core.batchfile.verdict import Verdict, is_there, json_type, quote, slugs, string

_PLACE = re.compile(r"`\$(?P<path>[^`]*)`$")

_members = msgspec.json.Decoder(dict[str, Raw])


def examine_body(raw: Raw | UnsetType, rules: Rules, verdict: Verdict) -> None:
    """Find the model and its provider, and every problem of a body."""
    name = NAMES[verdict.kind].body
    if not is_there(raw):
        verdict.error(name, "missing_field", f"{name} is missing; expected an object")
        return
    try:
        body = _members.decode(raw)
    except msgspec.ValidationError:
        verdict.error(name, "wrong_type", f"{name} is {json_type(raw)}; expected an object")
        return
    except (msgspec.DecodeError, UnicodeDecodeError):
        verdict.error(name, "wrong_type", f"a key of {name} is not text; expected text")
        return
    endpoint = BY_URL.get(verdict.url)
    model = _model(body.get("model", UNSET), rules, verdict)
    if model is not None:
        verdict.stated_model = model if "model" in body else ""
        _examine_model(model, rules, verdict)
    for field in endpoint.fields if endpoint else ():
        if not (field.unless and field.unless in body):
            _examine_field(body.get(field.name, UNSET), field, f"{name}.{field.name}", verdict)
    _examine_stream(body.get("stream", UNSET), f"{name}.stream", verdict)


def _model(raw: Raw | UnsetType, rules: Rules, verdict: Verdict) -> str | None:
    """The model that a body asks for; None with a problem where it names none and has to."""
    path = f"{NAMES[verdict.kind].body}.model"
    endpoint = BY_URL.get(verdict.url)
    default = endpoint.default_model if endpoint else None
    if is_there(raw) or default is None:
        return string(raw, path, verdict)
    if default or rules.default_model:
        return default or rules.default_model
    verdict.error(
        path,
        "missing_field",
        f"{path} is missing; expected a model in the line, or one for all lines: "
        "submit FILE --model NAME",
    )
    return None


def _examine_model(model: str, rules: Rules, verdict: Verdict) -> None:
    verdict.model = model
    path = f"{NAMES[verdict.kind].body}.model"
    if len(model) > MAX_MODEL:
        verdict.error(
            path,
            "model_too_long",
            f"{path} has {len(model)} characters; expected at most {MAX_MODEL}",
        )
    if not model.isprintable():
        # It becomes a column of the ledger, a label of metrics and a part of addresses.
        verdict.error(
            path,
            "invalid_model",
            f"{path} holds control characters; expected printable ones",
        )
    prefix, slash, name = model.partition("/")
    if not slash or prefix not in rules.providers:
        if verdict.stated_provider is None and not verdict.provider:
            _infer_provider(model, rules, verdict)
        return
    if not name:
        verdict.error(
            path,
            "empty_field",
            f'{path} is {quote(model)}; expected a name after "{prefix}/"',
        )
    if verdict.stated_provider is None and not verdict.provider:
        verdict.provider = prefix
    elif verdict.provider and verdict.provider != prefix:
        stated = NAMES[verdict.kind].provider
        verdict.error(
            path,
            "model_provider_mismatch",
            f"{path} is {quote(model)} while provider is {quote(verdict.provider)}; "
            "expected the model's prefix to be the provider"
            if not stated
            else f"{path} is {quote(model)} in a line of {verdict.kind}'s own form, which goes to "
            f"{stated} as it is; expected a model of {stated}",
        )


def _infer_provider(model: str, rules: Rules, verdict: Verdict) -> None:
    if not verdict.url:
        # Whose it is hangs on the url as well, of which something has been said.
        return
    candidates = rules.infer(model, verdict.url)
    default = rules.default_provider
    if len(candidates) == 1:
        verdict.provider = candidates[0]
    elif default and (not candidates or default in candidates):
        verdict.provider = default
    elif candidates:
        verdict.error(
            "provider",
            "ambiguous_provider",
            f"provider is missing and the model {quote(model)} may be that of "
            f"{slugs(candidates)}; expected one of them as the line's provider, or for all such "
            f"lines: submit FILE --provider {candidates[0]}",
        )
    else:
        verdict.error(
            "provider",
            "missing_field",
            f"provider is missing and no provider is known for the model {quote(model)}; "
            f"expected {slugs(rules.providers)} as the line's provider, or for all such lines: "
            "submit FILE --provider NAME",
        )


def _examine_field(raw: Raw | UnsetType, field: Field, path: str, verdict: Verdict) -> None:
    if not is_there(raw):
        verdict.error(path, "missing_field", f"{path} is missing; expected {field.expected}")
        return
    try:
        found = field.decoder.decode(raw)
    except msgspec.ValidationError as error:
        place = _PLACE.search(str(error))
        bad = path + (place["path"] if place else "")
        what = "does not fit" if place else f"is {json_type(raw)}"
        expected = (
            f"expected {path} to be {field.expected}" if place else f"expected {field.expected}"
        )
        if "of length >= 1" in str(error):
            verdict.error(bad, "empty_field", f"{bad} is empty; {expected}")
        elif ">= 1" in str(error):
            verdict.error(bad, "out_of_range", f"{bad} is too small; {expected}")
        else:
            verdict.error(bad, "wrong_type", f"{bad} {what}; {expected}")
    except UnicodeDecodeError:
        verdict.error(path, "wrong_type", f"{path} is not text; expected {field.expected}")
    else:
        if field.uniform and is_mixture(found):
            message = f"{path} is a mixture; expected {field.expected}"
            verdict.error(path, "wrong_type", message)


def _examine_stream(raw: Raw | UnsetType, path: str, verdict: Verdict) -> None:
    if not is_there(raw) or bytes(raw) in (b"false", b"null"):
        return
    if bytes(raw) == b"true":
        verdict.error(
            path,
            "streaming_unsupported",
            f"{path} is true; expected false or no such field, as batches do not stream",
        )
    else:
        verdict.error(
            path,
            "wrong_type",
            f"{path} is {json_type(raw)}; expected false or no such field",
        )
