"""The models that the sandbox serves are those that polybatch sends without a warning.

Two lists of the same facts, that share no code: a mistake in one shows here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.resources import files

import pytest

from core.providers.catalogue import CATALOGUE, Model
from core.providers.translation.responses import with_responses
from services.sandbox.anthropic.lines import SERVED
from services.sandbox.openai.check import BODIES
from services.sandbox.openai.models import serves

STILL_ANSWERED = {"claude-sonnet-4-5-20250929"}
"""See docs/sandbox.md."""


def listed(provider: str) -> Iterator[Model]:
    tables = tomllib.loads((files("core.providers") / "models.toml").read_text())
    for table in tables[provider]:
        yield CATALOGUE.model(provider, table["id"])


@pytest.mark.parametrize("endpoint", BODIES)
def test_openais_are_served_at_their_endpoints_and_nowhere_else(endpoint: str) -> None:
    models = [*listed("openai")]
    expected = {
        model.id
        for model in models
        if model.batch
        and not model.retired
        and endpoint in with_responses(frozenset(model.endpoints))
    }
    served = {model.id for model in models if serves(model.id, BODIES[endpoint])}
    assert served == expected


def test_anthropics_are_served() -> None:
    models = [*listed("anthropic")]
    served = {model.id for model in models if SERVED.fullmatch(model.id)}
    assert served - STILL_ANSWERED == {model.id for model in models if not model.retired}
