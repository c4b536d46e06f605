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


@dataclass(frozen=True, slots=True)
class HasTerm:
    """Batches with a model, a key, a name, or a pair of metadata; `negated`: those without."""

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
class OfParent:
    """Retries of a batch; of "": batches that are none."""

    parent_id: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class NameContains:
    """Whatever the case."""

    text: str


@dataclass(frozen=True, slots=True)
class Created:
    comparison: str
    """"<", "<=", ">" or ">="."""
    moment: datetime


Condition: TypeAlias = HasTerm | InState | OfParent | NameContains | Created

_TERM_CHARS = 32
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
    *,
    oldest_first: bool = False,
) -> Any:
    """The query for a page of batches that meet all conditions; as Batches.page."""
    query = select(Batch).where(Batch.account_id == account_id, col(Batch.deleted_at).is_(None))
    created_at, batch_id = col(Batch.created_at), col(Batch.id)
    leading = next((each for each in conditions if _is_leading(each)), None)
    if isinstance(leading, HasTerm):
        # Read in the order of the term's rows, as far as the page goes.
        query = query.join(BatchTerm, col(BatchTerm.batch_id) == col(Batch.id)).where(
            BatchTerm.account_id == account_id, BatchTerm.term == _term_of(leading)
        )
        created_at, batch_id = col(BatchTerm.created_at), col(BatchTerm.batch_id)
    if states:
        query = query.where(col(Batch.state).in_(states))
    for condition in conditions:
        if condition is not leading:
            query = query.where(_met(account_id, condition, created_at))
    place = sa.tuple_(created_at, batch_id)
    if after is not None:
        last = sa.tuple_(*map(sa.literal, after))
        query = query.where(place > last if oldest_first else place < last)
    order = (created_at, batch_id)
    query = query.order_by(*(order if oldest_first else (each.desc() for each in order)))
    return query.limit(size)


def _is_leading(condition: Condition) -> bool:
    return isinstance(condition, HasTerm) and not condition.negated


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
        case InState(state=state, negated=negated):
            return (col(Batch.state) != state) if negated else (col(Batch.state) == state)
        case OfParent(parent_id=parent_id, negated=negated):
            column = col(Batch.parent_id)
            return (column != parent_id) if negated else (column == parent_id)
        case NameContains(text=text):
            # The other condition is that of the index of names.
            return (col(Batch.name_folded) != "") & col(Batch.name_folded).contains(
                folded(text), autoescape=True
            )
        case Created(comparison=comparison, moment=moment):
            return _COMPARISONS[comparison](created_at, moment)
