from __future__ import annotations

from pathlib import Path

import pytest

from core.blobs import BlobStore


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """An empty store of each kind that files lie in."""
    if request.param == "s3":
        return BlobStore.open(str(request.getfixturevalue("s3_url")) + "/some/prefix")
    return BlobStore.open((tmp_path / "blobs").as_uri())


@pytest.fixture
def folder_store(tmp_path: Path) -> BlobStore:
    return BlobStore.open((tmp_path / "blobs").as_uri())
