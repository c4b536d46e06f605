"""Which schema a database has, and how it gets the newest one."""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa

from core.ledger.engine import make_migration_engine
from core.ledger.errors import UnknownSchema

_MIGRATIONS = Path(__file__).parent / "migrations"
_UPGRADING = threading.Lock()


async def is_newest(url: str) -> bool:
    """Whether a database has the newest schema. Raises SQLAlchemy's errors."""
    newest = max(_known())
    engine = make_migration_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_revision) == newest
    finally:
        await engine.dispose()


def refuse_unknown(connection: sa.Connection) -> None:
    """Raise UnknownSchema where no migration leads from a database's schema to the newest one."""
    found, known = _revision(connection), _known()
    if found is None or found in known:
        return
    remedy = "it is older: start a version between the two first, which brings it further"
    if found > max(known):
        remedy = (
            "a newer version was started on it. Start that one again, or restore the back-up "
            "from before the upgrade"
        )
    raise UnknownSchema(
        f"the database has schema {found}, and this version of polybatch knows "
        f"{min(known)} to {max(known)}: {remedy}"
    )


def _known() -> set[str]:
    return {path.name[:4] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")}


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def upgrade(url: str) -> None:
    """Bring a database to the newest schema (blocking). Raises UnknownSchema."""
    _alembic("upgrade", url, "head")


def downgrade(url: str, revision: str) -> None:
    """Take a database back to an older schema (blocking); what that has no place for is lost."""
    _alembic("downgrade", url, revision)


def _alembic(command_name: str, url: str, revision: str) -> None:
    # Imported where there is something to do: a tenth of a second of every start otherwise.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    # Alembic keeps its context in module globals: one thread of a process at a time.
    with _UPGRADING:
        getattr(command, command_name)(config, revision)
