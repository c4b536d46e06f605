"""The lists of files and batches at a provider in OpenAI's form, read page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from core.providers.http import ProviderHttp
from core.providers.openai_wire import (
    Page,
    RemoteFile,
    RemoteJob,
    moment_of,
    read_files,
    read_jobs,
)

T = TypeVar("T")

PAGE = 100


class Lists:
    """What a key sees. Raises ProviderUnavailable, ProviderRejected while it is read."""

    def __init__(self, http: ProviderHttp) -> None:
        self._http = http

    async def jobs(self, oldest: datetime) -> AsyncGenerator[RemoteJob, None]:
        """All batches created from `oldest` on, and perhaps older ones.

        The newest come first, as observed; but nothing promises it, so the scan stops
        early only after a page that is in that order itself.
        """
        async for jobs in self._pages("/batches", {"limit": PAGE}, read_jobs):
            for job in jobs:
                yield job
            if _past([job.created_at for job in jobs], oldest):
                return

    async def files(self, purpose: str, oldest: datetime) -> AsyncGenerator[RemoteFile, None]:
        """All files of a purpose created from `oldest` on, and perhaps older ones."""
        params: dict[str, str | int] = {"purpose": purpose, "order": "desc", "limit": PAGE}
        async for files in self._pages("/files", params, read_files):
            for file in files:
                yield file
            if _past([file.created_at for file in files], oldest):
                return

    async def _pages(
        self, path: str, params: Mapping[str, str | int], read: Callable[[bytes], Page[T]]
    ) -> AsyncGenerator[list[T], None]:
        cursor: dict[str, str] | None = {}
        while cursor is not None:
            page = await self._http.call("GET", path, read, params={**params, **cursor})
            yield page.items
            # One that points to itself would never end.
            cursor = None if page.next == cursor else page.next


def _past(created: Sequence[object], oldest: datetime) -> bool:
    """Whether a page runs from new to old and has come to before `oldest`."""
    moments = [moment for moment in map(moment_of, created) if moment is not None]
    if len(moments) != len(created) or len(moments) < 2:
        return False
    newest_first = moments == sorted(moments, reverse=True) and moments[0] > moments[-1]
    return newest_first and moments[-1] < oldest
