"""Types that msgspec converts to from several threads."""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


def prepared(kind: type[T]) -> type[T]:
    """Have msgspec take a type apart now, at import.

    It does so at the first use otherwise, and runs Python code amid it: a second thread that
    comes by then finds the description half made, and the process dies of it (msgspec 0.22.0,
    Structs as well as dataclasses). A decoder that a module makes at import needs no more.
    """
    msgspec.json.Decoder(kind)
    return kind
