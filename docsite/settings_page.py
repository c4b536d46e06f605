"""The tables of docs/settings.md, made of core/settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import annotated_types
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from core.settings import ProviderAccess, Settings, TracingSettings
from core.settings.units import Unit
from docsite.markdown import cell, table
from docsite.source_texts import field_texts

_PLACE = re.compile(r"(<!-- (\w+): [^\n]* -->\n).*?(<!-- end -->)", re.DOTALL)
_SIZES = ("TiB", 4), ("GiB", 3), ("MiB", 2), ("KiB", 1)
_SPANS = ("days", 86_400), ("hours", 3600), ("minutes", 60)
_NAME = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b")


def filled(page: str) -> str:
    """The page with its tables as the settings are now."""
    tables = {
        "services": lambda: "\n".join(_groups()),
        "providers": lambda: "\n".join(_rows(ProviderAccess, ProviderAccess)),
        "traces": lambda: "\n".join(_rows(TracingSettings, TracingSettings)),
    }
    return _PLACE.sub(lambda found: f"{found[1]}\n{tables[found[2]]()}\n{found[3]}", page)


def variables() -> Iterator[str]:
    """Every environment variable that a setting is read from."""
    for owner in (Settings, ProviderAccess, TracingSettings):
        for name, field in owner.model_fields.items():
            yield from _variables(owner, name, field)


def _groups() -> Iterator[str]:
    for group in Settings.__bases__:
        yield f"### {group.__doc__}"
        yield ""
        yield from _rows(group, Settings)


def _rows(group: type, owner: Any) -> list[str]:
    texts = field_texts(group)
    return table(
        ("variable", "default", "what"),
        [
            (
                ", ".join(f"`{each}`" for each in _variables(owner, name, field)),
                _default(field),
                cell(_named(text)) + _range(field),
            )
            for name, text in texts.items()
            if (field := owner.model_fields.get(name)) is not None
        ],
    )


def _variables(owner: Any, name: str, field: FieldInfo) -> list[str]:
    match field.validation_alias:
        case AliasChoices(choices=choices):
            return [str(each) for each in choices]
        case str(alias):
            return [alias]
    return [f"{owner.model_config.get('env_prefix', '')}{name}".upper()]


def _named(text: str) -> str:
    """With other settings called by their variables."""
    fields: Mapping[str, FieldInfo] = Settings.model_fields
    return _NAME.sub(
        lambda found: f"`POLYBATCH_{found[0].upper()}`" if found[0] in fields else found[0], text
    )


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == "":
        return "not set"
    if isinstance(value, bool):
        return f"`{int(value)}`"
    [unit] = [each.name for each in field.metadata if isinstance(each, Unit)] or [""]
    if unit == "bytes":
        [name, power] = next((each for each in _SIZES if value >= 1024 ** each[1]), ("bytes", 0))
        return f"`{value}` ({value // 1024**power} {name})"
    if unit == "seconds":
        name, span = next((each for each in _SPANS if value > each[1]), ("s", 1))
        more = f" ({value / span:g} {name})" if span > 1 else ""
        return f"`{value:g}` s{more}"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _range(field: FieldInfo) -> str:
    """What it may be, where that is bounded by more than being no less than 0."""
    words = []
    for each in field.metadata:
        match each:
            case annotated_types.Ge(ge=bound) if bound:
                words.append(f"at least {bound}")
            case annotated_types.Gt(gt=bound):
                words.append(f"above {bound}")
            case annotated_types.Le(le=bound):
                words.append(f"at most {bound}")
    return f" {', '.join(words).capitalize()}." if words else ""
