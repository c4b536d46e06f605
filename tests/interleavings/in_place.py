"""What waits for threads of the database or of the blobs is done at once, in place: nothing then
comes at a time of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import obstore

from core.blobs import store
from core.ledger import sqlite_driver


class _Read:
    def __init__(self, whole: Any) -> None:
        self._whole = whole

    async def bytes_async(self) -> Any:
        return self._whole.bytes()

    async def collect_async(self) -> Any:
        return self._whole.collect()


class _Store:
    """As much of obstore as core/blobs/store.py uses for a local folder."""

    def list(self, *args: Any, **options: Any) -> _Read:
        return _Read(obstore.list(*args, **options))

    async def get_async(self, *args: Any) -> _Read:
        return _Read(obstore.get(*args))

    async def get_range_async(self, *args: Any, **options: Any) -> Any:
        return obstore.get_range(*args, **options)

    async def head_async(self, *args: Any) -> Any:
        return obstore.head(*args)

    async def delete_async(self, *args: Any) -> None:
        obstore.delete(*args)


async def _apart(connection: sqlite_driver.Connection, function: Callable[[], Any]) -> Any:
    connection._in_thread = done = Future()
    done.set_result(None)
    return function()


async def _untimed(
    connection: sqlite_driver.Connection, _statement: str, function: Callable[[], Any]
) -> Any:
    return function()


@contextmanager
def in_place() -> Iterator[None]:
    """For the length of the block."""
    with (
        patch.object(sqlite_driver.Connection, "apart", _apart),
        patch.object(sqlite_driver.Connection, "_timed", _untimed),
        patch.object(store, "obstore", _Store()),
    ):
        yield
