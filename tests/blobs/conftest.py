from __future__ import annotations

from pathlib import Path

import pytest
from obstore.store import MemoryStore

from core.blobs import BlobStore


@pytest.fixture(params=["folder", "object_storage"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """Both ways through BlobStore; obstore's own memory store stands for object storage."""
    if request.param == "folder":
        return BlobStore.open((tmp_path / "blobs").as_uri())
    return BlobStore(MemoryStore(), None)


@pytest.fixture
def folder_store(tmp_path: Path) -> BlobStore:
    return BlobStore.open((tmp_path / "blobs").as_uri())
