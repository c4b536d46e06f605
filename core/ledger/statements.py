"""Statements that are put together once and run for every shard."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import BindParameter, literal_column
from sqlalchemy.sql.visitors import replacement_traverse

Statement = TypeVar("Statement")


def made_once(statement: Statement) -> Statement:
    """The same statement with its constants, texts and numbers, written into its SQL.

    SQLAlchemy sends each constant as a parameter, and goes through all of them, and through each
    list of values, at every execution: that takes longer than all else it does for a statement
    that has dozens. What `bindparam` names stays a parameter.
    """
    made: Any = replacement_traverse(statement, {}, _written)  # type: ignore[call-overload]
    return made  # type: ignore[no-any-return]


def _written(element: Any, **_options: Any) -> Any:
    # A name that is its own was given by SQLAlchemy: to a constant.
    if not isinstance(element, BindParameter) or not element.unique:
        return None
    values: Any = element.value if element.expanding else [element.value]
    if not values:
        # SQLAlchemy has a form of its own for a list that is empty.
        return None
    texts = [_text(value) for value in values]
    if None in texts:
        return None
    written = f"({', '.join(map(str, texts))})" if element.expanding else str(texts[0])
    return literal_column(written, element.type)


def _text(value: Any) -> str | None:
    """The constant in SQL as both databases read it; None: it is to stay a parameter."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, str):
        return "'" + str(value).replace("'", "''") + "'"
    return None
