"""The full examination of one line: every problem of it, in words.

The scanner sends here what its fast path does not take, so this may be slow, but it
must not be fooled: whatever bytes come, the answer is a verdict, never an exception.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, UnsetType

from core.batchfile.bodies import URLS
from core.batchfile.body_diagnosis import examine_body
from core.batchfile.json_defects import doubled_keys, lone_surrogate
from core.batchfile.problems import Problem
from core.batchfile.rules import Rules
from core.batchfile.schema import (
    BOM,
    KNOWN_FIELDS,
    MAX_CUSTOM_ID,
    NAMES,
    Kind,
    LooseLine,
    custom_id_of,
)
from core.batchfile.verdict import QUOTED, Verdict, is_there, json_type, quote, slugs, string
from core.json_depth import MAX_DEPTH, deeper_than

BYTE_ORDER_MARK = Problem(
    1,
    "",
    "",
    "byte_order_mark",
    "the file starts with a byte-order mark, which is ignored; expected none",
    "warning",
)

_line = msgspec.json.Decoder(LooseLine)
_members = msgspec.json.Decoder(dict[str, Raw])


def examine(
    raw: bytes,
    line: int,
    endpoint: str,
    rules: Rules,
    max_depth: int = MAX_DEPTH,
    *,
    kind: Kind | None = None,
) -> Verdict:
    """Examine one line that is not blank.

    `endpoint`, `kind`: those of all lines of the file; "" and None before the first valid one.
    `max_depth`: levels of lists and objects that the line may have.
    """
    verdict = Verdict(line, custom_id_of(raw))
    found = _take_apart(raw, verdict, max_depth)
    if found is None:
        return verdict
    verdict.kind = found.kind
    names = NAMES[found.kind]
    if kind is not None and found.kind is not kind:
        verdict.error(
            names.body,
            "kind_mismatch",
            f"the line is of {found.kind}'s form ({_form(found.kind)}); expected {kind}'s "
            f"({_form(kind)}) as in the lines before: a file is of one kind",
        )
    if found.kind is Kind.OPENAI:
        _examine_custom_id(found.custom_id, verdict)
        _examine_method(found.method, verdict)
        _examine_url(found.url, endpoint, verdict)
        _examine_provider(found.provider, rules, verdict)
        examine_body(found.body, rules, verdict)
    else:
        verdict.url = names.url
        verdict.provider = names.provider
        is_gemini = found.kind is Kind.GEMINI
        _examine_custom_id(found.key if is_gemini else found.custom_id, verdict)
        examine_body(found.request if is_gemini else found.params, rules, verdict)
    _examine_support(rules, verdict)
    _examine_other_fields(raw, verdict)
    verdict.problems += doubled_warnings(raw, line, verdict.custom_id)
    return verdict


def _form(kind: Kind) -> str:
    names = NAMES[kind]
    return f"{names.custom_id} and {names.body}"


def doubled_warnings(raw: bytes, line: int, custom_id: str) -> list[Problem]:
    """A warning for each key that comes twice in an object of a line."""
    return [
        Problem(
            line,
            custom_id,
            path,
            "doubled_key",
            f"{quote(path)} comes more than once, and the last one counts; expected it once",
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
        verdict.error(
            "",
            "invalid_utf8",
            f"byte {error.start} of the line is not UTF-8; expected UTF-8 text",
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
        found = json_type(raw.lstrip())
        verdict.error("", "not_an_object", f"the line is {found}; expected a JSON object")
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
    name = NAMES[verdict.kind].custom_id
    custom_id = string(raw, name, verdict)
    if custom_id is not None and len(custom_id) > MAX_CUSTOM_ID:
        verdict.id_is_whole = False
        verdict.error(
            name,
            "custom_id_too_long",
            f"{name} has {len(custom_id)} characters; expected at most {MAX_CUSTOM_ID}",
        )


def _examine_method(raw: Raw | UnsetType, verdict: Verdict) -> None:
    method = string(raw, "method", verdict)
    if method is not None and method != "POST":
        verdict.error("method", "unsupported_method", f'method is {quote(method)}; expected "POST"')


def _examine_url(raw: Raw | UnsetType, endpoint: str, verdict: Verdict) -> None:
    url = string(raw, "url", verdict)
    if url is None:
        return
    if url not in URLS:
        expected = " or ".join(quote(known) for known in URLS)
        verdict.error("url", "unsupported_url", f"url is {quote(url)}; expected {expected}")
        return
    verdict.url = url
    if endpoint and url != endpoint:
        verdict.error(
            "url",
            "url_mismatch",
            f"url is {quote(url)}; expected {quote(endpoint)} as in the lines before",
        )


def _examine_provider(raw: Raw | UnsetType, rules: Rules, verdict: Verdict) -> None:
    if not is_there(raw) or bytes(raw) == b"null":
        return
    provider = string(raw, "provider", verdict)
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
            f"provider is {quote(provider)}; expected {slugs(rules.providers)}",
        )


def _examine_support(rules: Rules, verdict: Verdict) -> None:
    provider, url = verdict.provider, verdict.url
    if not provider or not url or url in rules.providers[provider]:
        return
    others = {slug: urls for slug, urls in rules.providers.items() if url in urls}
    verdict.error(
        "url",
        "endpoint_not_supported",
        f"the provider {quote(provider)} does not offer {url}; "
        + (
            f"expected the provider to be {slugs(others)}"
            if others
            else "expected another url, as no provider does"
        ),
    )


def _examine_other_fields(raw: bytes, verdict: Verdict) -> None:
    known = KNOWN_FIELDS[verdict.kind]
    unknown = next((name for name in _members.decode(raw) if name not in known), None)
    if unknown is not None:
        expected = [name for name in LooseLine.__struct_fields__ if name in known]
        verdict.warning(
            unknown[:QUOTED],
            "unknown_field",
            f"the field {quote(unknown)} is ignored; "
            f"expected {', '.join(expected[:-1])} and {expected[-1]} only",
        )


def line_too_long(line: int, size: int, limit: int) -> Problem:
    """What is said of a line of `size` bytes."""
    return Problem(
        line,
        "",
        "",
        "line_too_long",
        f"the line has {size} bytes; expected at most {limit}",
    )
