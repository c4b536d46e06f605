"""The simulation's ledger has the interface of the one whose place it takes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from inspect import Parameter
from typing import cast

import pytest

from benchmarks.simulation.ledger import MemoryLedger
from core.ledger import Ledger
from core.ledger.database import Database

_REST = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_OWN = frozenset({"add"})
"""By which the simulation puts in what it has planned."""


def _methods(repository: object) -> dict[str, inspect.Signature]:
    found = inspect.getmembers(type(repository), inspect.isfunction)
    return {name: inspect.signature(each) for name, each in found if not name.startswith("_")}


def _repositories(ledger: object) -> dict[str, object]:
    return {name: each for name, each in vars(ledger).items() if not name.startswith("_")}


def _pairs() -> Iterator[tuple[str, inspect.Signature, inspect.Signature]]:
    # Nothing is asked of a database.
    ledger = Ledger(cast("Database", None))
    real = _repositories(ledger)
    memory = MemoryLedger()
    stand_ins = {name: each for name, each in _repositories(memory).items() if name in real}
    unmatched = set(_methods(memory)) - _OWN
    own = _methods(ledger)
    # In one order, as the test is collected by several processes.
    for name in sorted(unmatched & set(own)):
        unmatched.discard(name)
        yield name, _methods(memory)[name], own[name]
    for place, stand_in in stand_ins.items():
        wanted = _methods(real[place])
        for name, signature in _methods(stand_in).items():
            if name in wanted:
                unmatched.discard(name)
                yield f"{place}.{name}", signature, wanted[name]
            else:
                # One class takes the place of several: each method is one of theirs.
                assert stand_in is memory, f"the ledger has no {place}.{name}"
    assert not unmatched, f"the ledger has none of {unmatched}"


def _named(signature: inspect.Signature) -> list[tuple[str, object, bool]]:
    """Name, kind and whether it can be left out; what a stand-in ignores has an underscore."""
    return [
        (each.name.removeprefix("_"), each.kind, each.default is not Parameter.empty)
        for each in signature.parameters.values()
        if each.kind not in _REST
    ]


@pytest.mark.parametrize(
    ("stand_in", "real"), [pytest.param(*rest, id=name) for name, *rest in _pairs()]
)
def test_it_is_called_as_the_ledger_is(
    stand_in: inspect.Signature, real: inspect.Signature
) -> None:
    here, there = _named(stand_in), _named(real)
    takes_the_rest = any(each.kind in _REST for each in stand_in.parameters.values())
    assert here == there[: len(here)]
    assert takes_the_rest or all(left_out for *_, left_out in there[len(here) :])
