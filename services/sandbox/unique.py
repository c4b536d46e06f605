"""Finds repeated ids among very many, in little memory."""

from __future__ import annotations

from array import array

_PARTITIONS = 16


class UniqueIds:
    """Eight bytes an id: hashes, apart in a few arrays that are compared at the end."""

    def __init__(self) -> None:
        self._parts = [array("q") for _ in range(_PARTITIONS)]

    def add(self, custom_id: str) -> None:
        value = hash(custom_id)
        self._parts[value % _PARTITIONS].append(value)

    def repeated(self) -> set[int]:
        """The hashes that came more than once."""
        found: set[int] = set()
        for part in self._parts:
            if len(set(part)) < len(part):
                seen: set[int] = set()
                for value in part:
                    (found if value in seen else seen).add(value)
        return found
