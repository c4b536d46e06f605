"""The files of the account, for the asyncio client."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polybatch._base_client import BaseClient
    from polybatch._operations.sources import Progress
    from polybatch.models import File, LineProblem

__all__ = ["AsyncFiles"]


class AsyncFiles:
    """The files of the account: `client.files`."""

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    async def get(self, file_id: str) -> File:
        """Returns what is known of a file."""
        return await self._client._requests.get_file(file_id)

    def list(self, *, page_size: int = 100) -> AsyncGenerator[File, None]:
        """Yields the account's files, newest first, fetched page by page."""
        return self._client._requests.list_files(page_size)

    async def delete(self, file_id: str) -> None:
        """Deletes a file. Conflict while a batch that has not ended reads it."""
        await self._client._requests.delete_file(file_id)

    async def download(
        self,
        file_id: str,
        path: str | os.PathLike[str],
        *,
        progress: Progress | None = None,
    ) -> File:
        """Writes a file's content to `path`, whole and with the right digest or not at all."""
        return await self._client._downloads.save_file(file_id, Path(path), progress)

    def chunks(self, file_id: str) -> AsyncGenerator[bytes, None]:
        """Yields a file's bytes as they come, in no relation to lines."""
        return self._client._downloads.file_chunks(file_id)

    def validation_report(self, file_id: str) -> AsyncGenerator[LineProblem, None]:
        """Yields every problem that was found in a file, in line order, warnings too."""
        return self._client._downloads.validation_report(file_id)
