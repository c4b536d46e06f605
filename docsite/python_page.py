"""docs/reference/python.md, made of the docstrings of the Python client."""

from __future__ import annotations

import dataclasses
import enum
import inspect
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import polybatch

from docsite.markdown import cell, notice, prose, table
from docsite.source_texts import field_texts, field_types, result, signature

_CLIENTS = ("Client", "AsyncClient")
_INTRODUCTION = """\
# The Python client

`pip install polybatch` is the library, `polybatch[cli]` the command as well. The client's
[README](../../clients/python/README.md) shows how it is used; this page has every public class.
`AsyncClient` has the methods of `Client`, to be awaited, and those that return an iterator
return an asynchronous one; so have the classes below it whose names begin with Async.
"""


def page() -> str:
    """The clients, then what they return, then errors."""
    public = {name: getattr(polybatch, name) for name in polybatch.__all__}
    awaited = {name for name in public if name.startswith("Async")}
    errors = {name for name, each in public.items() if issubclass(each, Exception)}
    values = {
        name
        for name, each in public.items()
        if (dataclasses.is_dataclass(each) or issubclass(each, enum.Enum)) and name not in errors
    }
    parts = [name for name in public if name not in awaited | errors | values]
    parts.sort(key=lambda name: (name not in _CLIENTS, name))
    lines = [notice("the docstrings in clients/python/src/polybatch"), _INTRODUCTION]
    for title, names in (
        ("The client and its parts", parts),
        ("Values", sorted(values)),
        ("Errors", sorted(errors, key=lambda name: (len(public[name].__mro__), name))),
    ):
        lines += [f"## {title}", ""]
        for name in names:
            lines += _class(name, public[name])
    lines += ["## The asynchronous classes", ""]
    lines += table(
        ("class", "as"),
        [(f"`{name}`", f"`{name.removeprefix('Async')}`") for name in sorted(awaited)],
    )
    return "\n".join(lines)


def _class(name: str, owner: type) -> Iterator[str]:
    bases = [each for each in owner.__bases__ if each.__name__ in polybatch.__all__]
    yield from (f"### {name}", "")
    if bases:
        yield from (f"A [{bases[0].__name__}](#{bases[0].__name__.lower()}).", "")
    if owner.__doc__ and not owner.__doc__.startswith(f"{name}("):
        yield from (prose(inspect.cleandoc(owner.__doc__)), "")
    if issubclass(owner, enum.Enum):
        texts = field_texts(owner)
        yield from table(
            ("name", "value", "what"),
            [
                (f"`{each.name}`", f"`{each.value}`", cell(texts.get(each.name, "")))
                for each in owner
            ],
        )
    elif dataclasses.is_dataclass(owner):
        yield from _fields(owner)
    yield from _members(owner)


def _fields(owner: type) -> list[str]:
    rows = []
    for each in reversed(owner.__mro__):
        if dataclasses.is_dataclass(each):
            types, texts = field_types(each), field_texts(each)
            rows += [
                (f"`{name}`", f"`{written}`".replace("|", "\\|"), cell(texts.get(name, "")))
                for name, written in types.items()
                if not name.startswith("_")
            ]
    return table(("field", "type", "what"), rows)


def _members(owner: type) -> Iterator[str]:
    """Public methods and properties, those of private base classes too."""
    seen: set[str] = set()
    for each in owner.__mro__:
        own = each is owner or each.__name__ not in polybatch.__all__
        if own and each.__module__.startswith("polybatch"):
            for name, member in vars(each).items():
                constructor = name == "__init__" and owner.__name__ in _CLIENTS
                if name not in seen and (constructor or not name.startswith("_")):
                    seen.add(name)
                    yield from _member(f"{owner.__name__}.{name}", member)


def _member(name: str, member: Any) -> Iterator[str]:
    match member:
        case property(fget=function) | cached_property(func=function) if function is not None:
            head = result(function)
        case classmethod(__func__=function) | staticmethod(__func__=function):
            head = signature(function)
        case _ if inspect.isfunction(member):
            function, head = member, signature(member)
        case _:
            return
    yield from (f"#### {name}", "", "```python", head, "```", "")
    if function.__doc__:
        yield from (prose(inspect.cleandoc(function.__doc__)), "")
