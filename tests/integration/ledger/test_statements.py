"""Statements with their constants in their SQL say the same on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import col

from core.ledger import ShardState
from core.ledger.database import Database
from core.ledger.statements import made_once
from core.ledger.tables import Shard

ODD = 'it\'s 100% \\ :name; -- \u20ac "x"'


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    made = Database.connect(database_url, pool_size=1)
    yield made
    await made.close()


@pytest.mark.parametrize("constant", [ODD, "", 0, -7, 2**62, True, False, ShardState.QUEUED])
async def test_a_constant_is_written_as_it_is(database: Database, constant: Any) -> None:
    kind = sa.String() if isinstance(constant, str) else sa.literal(constant).type
    statement = made_once(sa.select(sa.cast(constant, kind)))
    assert not statement.compile().params
    async with database.read() as session:
        found = (await (await session.connection()).execute(statement)).scalar_one()
    assert found == constant


async def test_what_is_named_stays_a_parameter(database: Database) -> None:
    asked = sa.bindparam("asked", type_=sa.String)
    statement = made_once(sa.select(asked.in_(["a", "b"]), asked == ODD, asked.is_(None)))
    assert set(statement.compile().params) == {"asked"}
    async with database.read() as session:
        connection = await session.connection()
        of_one = (await connection.execute(statement, {"asked": "b"})).one()
        of_odd = (await connection.execute(statement, {"asked": ODD})).one()
    assert tuple(of_one) == (True, False, False)
    assert tuple(of_odd) == (False, True, False)


def test_other_constants_stay_parameters() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    statement = made_once(
        sa.update(Shard).where(col(Shard.state) == "queued").values(ended_at=None)
    )
    assert set(statement.compile().params) == {"ended_at"}
    dated = made_once(sa.select(Shard.id).where(col(Shard.due_at) < moment))
    assert list(dated.compile().params.values()) == [moment]
