"""Messages of any kind with values of any kind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

_KIND = FieldDescriptor
_EDGES = [0, 1, -1, 2**31 - 1, -(2**31), 1000, 1001]
_LARGE = [2**63 - 1, -(2**63), 2**62, 2**53, 315_576_000_001, -315_576_000_001]
TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "",
            "\0",
            "a\0b",
            "../../../etc/passwd",
            "file_/../x",
            "/",
            "%00",
            "x" * 100_000,
            "é" * 3000,
            "'; DROP TABLE batches; --",
            "\N{RIGHT-TO-LEFT OVERRIDE}",
            "\U0010ffff",
            "MjAyNi0xMS0yNFQwMDowMDowMCswMDowMHxiYXRjaF8x",
            "MDAwMS0wMS0wMVQwMDowMDowMCsxNDowMHx4",  # the year 1, east of Greenwich
            "OTk5OS0xMi0zMVQyMzo1OTo1OS0xNDowMHx4",  # the year 9999, west of it
            "cmVjb3JkOjk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5",
            "cmVjb3JkOg==",
        ]
    ),
)


def _scalars(field: FieldDescriptor, known: Sequence[str]) -> st.SearchStrategy[Any]:
    if field.type == _KIND.TYPE_STRING:
        return st.one_of(st.sampled_from(known), TEXTS) if known else TEXTS
    if field.type == _KIND.TYPE_BYTES:
        return st.binary(max_size=200)
    if field.type == _KIND.TYPE_BOOL:
        return st.booleans()
    if field.type == _KIND.TYPE_ENUM:
        return st.one_of(st.integers(0, 10), st.sampled_from([-1, 2**31 - 1, -(2**31)]))
    if field.type == _KIND.TYPE_DOUBLE:
        return st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 0.5, 1.0]))
    if field.type == _KIND.TYPE_INT32:
        return st.sampled_from(_EDGES)
    assert field.type == _KIND.TYPE_INT64, f"no values for {field.full_name}"
    return st.one_of(st.sampled_from(_EDGES + _LARGE), st.integers(0, 300))


@st.composite
def messages(draw: st.DrawFn, kind: Descriptor, known: Sequence[str] = ()) -> Message:
    """A message of a kind; its texts may be among the known ones."""
    made: Any = message_factory.GetMessageClass(kind)()
    for field in kind.fields:
        if draw(st.integers(0, 3)) == 0:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            pairs = draw(st.dictionaries(TEXTS, TEXTS, max_size=20))
            getattr(made, field.name).update(pairs)
        elif field.type == _KIND.TYPE_MESSAGE:
            getattr(made, field.name).CopyFrom(draw(messages(field.message_type, known)))
        elif field.is_repeated:
            getattr(made, field.name).extend(draw(st.lists(_scalars(field, known), max_size=5)))
        else:
            setattr(made, field.name, draw(_scalars(field, known)))
    return made  # type: ignore[no-any-return]


_PROTOS = Path(__file__).resolve().parents[2] / "protos" / "polybatch" / "v1"
_CODES = "|".join(code.name for code in grpc.StatusCode)
_LINE = re.compile(rf"^ *//   ({_CODES})\b")
_RPC = re.compile(r"^ *rpc (\w+)\(")


def documented_codes() -> dict[str, set[str]]:
    """RPC name to the codes that the comments of the protos give it, general ones included.

    INTERNAL, which stands among the general ones as our fault, is left out.
    """
    found: dict[str, set[str]] = {}
    general: set[str] = set()
    for path in sorted(_PROTOS.glob("*.proto")):
        seen: set[str] = set()
        of_service: set[str] = set()
        for line in path.read_text().splitlines():
            if code := _LINE.match(line):
                seen.add(code[1])
            elif rpc := _RPC.match(line):
                found[rpc[1]] = seen | of_service
                seen = set()
            elif line.startswith("service FileService"):
                general, seen = seen - {"INTERNAL"}, set()
            elif line.startswith("service "):
                of_service, seen = seen, set()
    assert {"UNAUTHENTICATED", "UNAVAILABLE", "RESOURCE_EXHAUSTED"} <= general
    found["SubmitBatch"] = found["UploadFile"] | found["CreateBatch"]
    return {name: codes | general | {"OK"} for name, codes in found.items()}
