"""Reading the fields of a request: what they have to be, and which are lost."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from core.providers.contract import LineRejected
from core.providers.translation.report import IGNORED, Report, wrong_type

NULL = Raw(b"null")


def text_of(path: str, part: Any, report: Report) -> str:
    """The text of a text part; perhaps empty. Raises LineRejected."""
    if not isinstance(part, dict) or part.get("type") != "text":
        raise LineRejected(f"{path}.type", "unsupported_content", f"{path} has to be a text part.")
    known_only(path, part, {"type", "text"}, report)
    return string(f"{path}.text", part.get("text"))


def string(path: str, value: Any) -> str:
    """The value, which has to be a string. Raises LineRejected."""
    if not isinstance(value, str):
        raise wrong_type(path, "a string")
    return value


def known_only(
    path: str, given: Mapping[str, Any], known: set[str] | frozenset[str], report: Report
) -> None:
    """Lose every other key whose value, decoded or not, is not null."""
    if not known.issuperset(given):
        for key in given:
            if key not in known and given[key] not in (None, NULL):
                report.lose(f"{path}.{key}")


def lose_untranslated(
    key: str,
    raw: Raw,
    report: Report,
    *,
    harmless: Collection[str],
    harmless_values: Mapping[str, Collection[Any]],
) -> None:
    """Lose a field of the body that has no equivalent, unless it has no effect on the answer.

    `harmless`: fields that never have one; `harmless_values`: values that ask for nothing.
    """
    path = f"body.{key}"
    if key in harmless:
        report.note(path, IGNORED, f"{key} has no equivalent and no effect on the answer.")
        return
    if key in harmless_values:
        try:
            asks_nothing = msgspec.json.decode(raw) in harmless_values[key]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            asks_nothing = False
        if asks_nothing:
            report.note(path, IGNORED, f"{key} asks for nothing.")
            return
    report.lose(path)


def data_url(path: str, url: str, wanted: str) -> tuple[str, str]:
    """The media type and the base64 of a data URL. Raises LineRejected: it has to be `wanted`."""
    head, comma, data = url.partition(",")
    if not (head.startswith("data:") and head.endswith(";base64") and comma and data):
        raise LineRejected(path, "unsupported_url", f"{path} has to be {wanted}.")
    media_type = head.removeprefix("data:").partition(";")[0].lower()
    return "image/jpeg" if media_type == "image/jpg" else media_type, data
