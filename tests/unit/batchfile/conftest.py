from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.batchfile import Rules
from core.blobs import BlobStore
from core.endpoints import CHAT_COMPLETIONS, EMBEDDINGS

MakeLine = Callable[..., bytes]


@pytest.fixture(scope="session")
def rules() -> Rules:
    return Rules(
        {
            "openai": frozenset({CHAT_COMPLETIONS, EMBEDDINGS}),
            "anthropic": frozenset({CHAT_COMPLETIONS}),
        }
    )


@pytest.fixture(scope="session")
def chat() -> MakeLine:
    """Makes a valid chat line; given fields replace its own, `...` leaves one out."""
    return _maker(
        CHAT_COMPLETIONS,
        {"model": "openai/gpt-4.1", "messages": [{"role": "user", "content": "Hi"}]},
    )


@pytest.fixture(scope="session")
def embedding() -> MakeLine:
    """As `chat`, for embeddings."""
    return _maker(EMBEDDINGS, {"model": "text-embedding-3-small", "input": "Hi"})


def _maker(url: str, valid_body: dict[str, Any]) -> MakeLine:
    def make(custom_id: Any = "a", *, body: Any = None, **fields: Any) -> bytes:
        line = {
            "custom_id": custom_id,
            "provider": "openai",
            "method": "POST",
            "url": url,
            "body": valid_body if body is None else body,
        }
        if isinstance(body, dict):
            line["body"] = _without_holes(valid_body | body)
        return json.dumps(_without_holes(line | fields), ensure_ascii=False).encode()

    return make


def _without_holes(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not ...}


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore.open((tmp_path / "blobs").as_uri())
