"""docs/reference/grpc.md, made of the protos and their comments."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from docsite.markdown import cell, notice, prose, table

PROTOS = Path(__file__).parents[1] / "protos"
_ORDER = (
    *("files", "batches", "status", "results", "providers", "prices", "usage", "accounts"),
    *("webhooks", "conversion", "events"),
)
# Numbers of the fields of descriptor.proto, of which the places of comments are made.
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_FIELD, _NESTED, _NESTED_ENUM = 2, 3, 4
_PACKAGE = 2
_VALUE = _METHOD = 2
_Path = tuple[int, ...]


def page() -> str:
    """All services with their calls, then all messages."""
    files = {Path(each.name).stem: each for each in _described()}
    assert set(files) == set(_ORDER), "each file has its place in the order of the page"
    comments = {name: _comments(file) for name, file in files.items()}
    lines = [
        notice("protos/polybatch/v1"),
        "# The gRPC API",
        "",
        "Every call with what it may answer and what the caller does next, and every message. The",
        "contract itself is [protos/polybatch/v1](../../protos/polybatch/v1); what a client has to",
        "do beside calling is in [clients/README.md](../../clients/README.md).",
        "",
    ]
    for name in _ORDER:
        lines += _services(files[name], comments[name])
    lines += ["## Messages", ""]
    for name in _ORDER:
        lines += [f"### {name}.proto", "", prose(comments[name].get((_PACKAGE,), "")), ""]
        lines += _messages(files[name], comments[name])
    return "\n".join(lines)


def _described() -> list[FileDescriptorProto]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "descriptors"
        names = [
            f"polybatch/v1/{each.name}" for each in sorted(PROTOS.glob("polybatch/v1/*.proto"))
        ]
        subprocess.run(
            [
                *(sys.executable, "-m", "grpc_tools.protoc", "-I", str(PROTOS)),
                *("--include_source_info", f"--descriptor_set_out={path}", *names),
            ],
            check=True,
        )
        return list(FileDescriptorSet.FromString(path.read_bytes()).file)


def _comments(file: FileDescriptorProto) -> Mapping[_Path, str]:
    found: dict[_Path, str] = {}
    for place in file.source_code_info.location:
        text = place.leading_comments or place.trailing_comments
        if text:
            lines = text.rstrip("\n").split("\n")
            found[tuple(place.path)] = "\n".join(line.removeprefix(" ") for line in lines)
    return found


def _services(file: FileDescriptorProto, comments: Mapping[_Path, str]) -> Iterator[str]:
    for number, service in enumerate(file.service):
        yield from (f"## {service.name}", "")
        yield from (prose(comments.get((_SERVICE, number), "")), "")
        for index, method in enumerate(service.method):
            yield from (f"### {service.name}.{method.name}", "")
            asked = _streamed(method.input_type, method.client_streaming)
            answered = _streamed(method.output_type, method.server_streaming)
            yield from (f"{asked} → {answered}", "")
            yield from (prose(comments.get((_SERVICE, number, _METHOD, index), "")), "")


def _streamed(name: str, many: bool) -> str:
    return f"{'stream of ' if many else ''}{_linked(name)}"


def _messages(file: FileDescriptorProto, comments: Mapping[_Path, str]) -> Iterator[str]:
    for number, enum in enumerate(file.enum_type):
        yield from _enum(enum, enum.name, (_ENUM, number), comments)
    for number, message in enumerate(file.message_type):
        yield from _message(message, message.name, (_MESSAGE, number), comments)


def _message(message: Any, name: str, path: _Path, comments: Mapping[_Path, str]) -> Iterator[str]:
    yield from (f"#### {name}", "")
    if text := comments.get(path):
        yield from (prose(text), "")
    maps = {each.name: each for each in message.nested_type if each.options.map_entry}
    yield from table(
        ("field", "type", "what"),
        [
            (f"`{each.name}`", _type(each, maps), cell(comments.get((*path, _FIELD, index), "")))
            for index, each in enumerate(message.field)
        ],
    )
    for index, nested in enumerate(message.nested_type):
        if nested.name not in maps:
            below = (*path, _NESTED, index)
            yield from _message(nested, f"{name}.{nested.name}", below, comments)
    for index, enum in enumerate(message.enum_type):
        yield from _enum(enum, f"{name}.{enum.name}", (*path, _NESTED_ENUM, index), comments)


def _enum(enum: Any, name: str, path: _Path, comments: Mapping[_Path, str]) -> Iterator[str]:
    yield from (f"#### {name}", "")
    if text := comments.get(path):
        yield from (prose(text), "")
    yield from table(
        ("value", "number", "what"),
        [
            (f"`{each.name}`", str(each.number), cell(comments.get((*path, _VALUE, index), "")))
            for index, each in enumerate(enum.value)
        ],
    )


def _type(field: FieldDescriptorProto, maps: Mapping[str, Any]) -> str:
    name = field.type_name.rpartition(".")[2]
    if name in maps and field.label == FieldDescriptorProto.LABEL_REPEATED:
        key, value = maps[name].field
        return f"map of {_type(key, {})} to {_type(value, {})}"
    if field.type_name:
        written = _linked(field.type_name)
    else:
        written = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {written}"
    return f"optional {written}" if field.proto3_optional else written


def _linked(name: str) -> str:
    """A type, with a link where it stands on this page."""
    short = name.removeprefix(".polybatch.v1.")
    if short.startswith("."):
        return f"`{short[1:]}`"
    return f"[{short}](#{short.lower().replace('.', '')})"
