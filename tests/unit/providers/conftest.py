"""Fixtures: a provider that does as it is told, and adapters connected to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.providers.anthropic.adapter import AnthropicProvider
from core.providers.http.client import ProviderHttp
from core.providers.openai.adapter import OpenAIProvider
from tests.support.providers.fake_provider import NOW, SPOOLED, FakeProvider, Naps, Stage, connect


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    with Stage().open() as opened:
        yield opened


@pytest.fixture(scope="session")
def other_stage() -> Iterator[Stage]:
    with Stage().open() as opened:
        yield opened


@pytest.fixture
def fake(stage: Stage) -> FakeProvider:
    return stage.present()


@pytest.fixture
def other(other_stage: Stage) -> FakeProvider:
    """A host that is not the provider's."""
    return other_stage.present()


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
async def http(fake: FakeProvider, naps: Naps) -> AsyncIterator[ProviderHttp]:
    async with connect(fake.url, naps) as client:
        yield client


@pytest.fixture
def openai(http: ProviderHttp) -> OpenAIProvider:
    return OpenAIProvider(http, settle=timedelta(seconds=120), now=lambda: NOW)


@pytest.fixture
def anthropic(http: ProviderHttp) -> AnthropicProvider:
    return AnthropicProvider(http, settle=timedelta(seconds=120), now=lambda: NOW)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    path = tmp_path / "spool.jsonl"
    path.write_bytes(SPOOLED)
    return path
