"""Finding batches of an account: conditions, and the SQL that meets them fast.

What equals something (a model, the key, the name, a pair of the metadata) is a term. A row for each
term of a batch stands in an index in the order of lists, so the first page comes without reading
the account's other batches, however rare the term is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlmodel import col, select

from core.ledger.states import BatchState
from core.ledger.tables import Batch, BatchTerm


class Kind(StrEnum):
    """What a term says."""

    KEY = "key"
    MODEL = "model"
    NAME = "name"
    METADATA = "metadata"
    PARENT = "parent"


@dataclass(frozen=True, slots=True)
class HasTerm:
    """Batches with a model, a key, a name, a parent or a pair of metadata, or those without."""

    kind: Kind
    first: str
    """The value; of metadata, its key."""
    second: str = ""
    """Of metadata, its value."""
    negated: bool = False


@dataclass(frozen=True, slots=True)
class InState:
    state: BatchState
    negated: bool = False


@dataclass(frozen=True, slots=True)
class IsRetry:
    """Batches that retry lines of another; `wanted` False: the others."""

    wanted: bool


@dataclass(frozen=True, slots=True)
class NameContains:
    """Whatever the case."""

    text: str


@dataclass(frozen=True, slots=True)
class Created:
    comparison: str
    """"<", "<=", ">" or ">="."""
    moment: datetime


Condition: TypeAlias = HasTerm | InState | IsRetry | NameContains | Created

_TERM_CHARS = 32
_WEIGHED = 1000
_TERMS = BatchTerm.__table__.alias("others")  # type: ignore[attr-defined]
_COMPARISONS = {
    "<": sa.ColumnElement.__lt__,
    "<=": sa.ColumnElement.__le__,
    ">": sa.ColumnElement.__gt__,
    ">=": sa.ColumnElement.__ge__,
}


def folded(name: str) -> str:
    """A name, or a part of one, as names are searched."""
    return name.casefold()


def term(kind: Kind, first: str, second: str = "") -> str:
    """A digest: what is told of a batch may be longer than an index takes."""
    whole = "\0".join((kind, first, second)).encode(errors="replace")
    return hashlib.sha256(whole).hexdigest()[:_TERM_CHARS]


def terms_of(batch: Batch, groups: Iterable[Mapping[str, Any]]) -> list[BatchTerm]:
    """The rows of a new batch. `groups`: as File.groups; a model is found by the name that lines
    give it, with its provider's before it, and without."""
    found = {term(Kind.METADATA, key, value) for key, value in batch.details.items()}
    if batch.key_id:
        found.add(term(Kind.KEY, batch.key_id))
    if batch.parent_id:
        found.add(term(Kind.PARENT, batch.parent_id))
    if batch.name:
        found.add(term(Kind.NAME, batch.name))
    for group in groups:
        provider, model = group["provider"], group["model"]
        bare = model.removeprefix(f"{provider}/")
        found |= {term(Kind.MODEL, name) for name in (model, bare, f"{provider}/{bare}")}
    return [
        BatchTerm(
            account_id=batch.account_id, term=each, created_at=batch.created_at, batch_id=batch.id
        )
        for each in found
    ]


def search(
    account_id: str,
    size: int,
    after: tuple[datetime, str] | None,
    states: Sequence[BatchState] = (),
    conditions: Sequence[Condition] = (),
    leading: HasTerm | None = None,
    *,
    oldest_first: bool = False,
) -> Any:
    """The query for a page of batches that meet all conditions; as Batches.page.

    `leading`: of the conditions, the term that the fewest batches have (`terms_to_weigh`).
    """
    wanted = _states(states, conditions)
    others = [each for each in conditions if each != leading and not isinstance(each, InState)]

    def page_of(what: Any, state: Any = None) -> Any:
        created_at, batch_id = col(Batch.created_at), col(Batch.id)
        query = sa.select(what).where(
            col(Batch.account_id) == account_id, col(Batch.deleted_at).is_(None)
        )
        if leading is not None:
            # Read in the order of the term's rows, as far as the page goes.
            query = query.join(BatchTerm, col(BatchTerm.batch_id) == col(Batch.id)).where(
                col(BatchTerm.account_id) == account_id, col(BatchTerm.term) == _term_of(leading)
            )
            created_at, batch_id = col(BatchTerm.created_at), col(BatchTerm.batch_id)
        if state is not None:
            query = query.where(state)
        query = query.where(*(_met(account_id, each, created_at) for each in others))
        place = sa.tuple_(created_at, batch_id)
        if after is not None:
            last = sa.tuple_(*map(sa.literal, after))
            query = query.where(place > last if oldest_first else place < last)
        return _ordered(query, created_at, batch_id, oldest_first=oldest_first).limit(size)

    if wanted is None:
        return page_of(Batch)
    if leading is not None or len(wanted) < 2:
        return page_of(
            Batch,
            col(Batch.state) == wanted[0] if len(wanted) == 1 else col(Batch.state).in_(wanted),
        )
    # Of several states each has its own place in the index.
    pages = [
        sa.select(page_of(col(Batch.id), col(Batch.state) == state).subquery().c.id)
        for state in wanted
    ]
    query = sa.select(Batch).where(col(Batch.id).in_(sa.union_all(*pages)))
    return _ordered(query, col(Batch.created_at), col(Batch.id), oldest_first=oldest_first).limit(
        size
    )


def _ordered(query: Any, created_at: Any, batch_id: Any, *, oldest_first: bool) -> Any:
    order = (created_at, batch_id)
    return query.order_by(*(order if oldest_first else (each.desc() for each in order)))


def _states(
    states: Sequence[BatchState], conditions: Sequence[Condition]
) -> list[BatchState] | None:
    """The states that are wanted; None: all."""
    wanted = list(states or BatchState)
    for each in conditions:
        if isinstance(each, InState):
            wanted = [state for state in wanted if (state == each.state) != each.negated]
    return None if len(wanted) == len(BatchState) else wanted


def terms_to_weigh(conditions: Sequence[Condition]) -> list[HasTerm]:
    """Those that could lead a search; each of them may be the one that the fewest batches have."""
    return [each for each in conditions if isinstance(each, HasTerm) and not each.negated]


def weigh(account_id: str, condition: HasTerm) -> Any:
    """The query for how many batches have a term, as far as it matters."""
    some = (
        select(BatchTerm.batch_id)
        .where(BatchTerm.account_id == account_id, BatchTerm.term == _term_of(condition))
        .limit(_WEIGHED)
        .subquery()
    )
    return sa.select(sa.func.count()).select_from(some)


def _term_of(condition: HasTerm) -> str:
    return term(condition.kind, condition.first, condition.second)


def _met(account_id: str, condition: Condition, created_at: Any) -> Any:
    match condition:
        case HasTerm(negated=negated):
            found = sa.exists().where(
                _TERMS.c.account_id == account_id,
                _TERMS.c.term == _term_of(condition),
                _TERMS.c.created_at == col(Batch.created_at),
                _TERMS.c.batch_id == col(Batch.id),
            )
            return ~found if negated else found
        case IsRetry(wanted=wanted):
            return (col(Batch.parent_id) != "") if wanted else (col(Batch.parent_id) == "")
        case NameContains(text=text):
            # The other condition is that of the index of names.
            return (col(Batch.name_folded) != "") & col(Batch.name_folded).contains(
                folded(text), autoescape=True
            )
        case Created(comparison=comparison, moment=moment):
            return _COMPARISONS[comparison](created_at, moment)
