"""SQL that is put into words once for all ledgers of a process on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import LRUCache

from core.ledger import engine


class OneDialect(SQLiteDialect_aiosqlite):
    """Equal for all engines: SQLAlchemy looks compiled statements up by it."""

    supports_statement_cache = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OneDialect)

    def __hash__(self) -> int:
        return hash(OneDialect)


@contextmanager
def compiled_once() -> Iterator[None]:
    """Let all engines on SQLite share what they compile.

    Each test has a ledger of its own, and sends most statements once: a third of the time was
    the compiler's.
    """
    make = engine.create_async_engine
    compiled: Any = LRUCache(2000)

    def create(*arguments: Any, **options: Any) -> AsyncEngine:
        made = make(*arguments, **options)
        if isinstance(made.dialect, OneDialect):
            made.sync_engine._compiled_cache = compiled
        return made

    registry.register("sqlite.aiosqlite", __name__, OneDialect.__name__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "create_async_engine", create)
        yield
