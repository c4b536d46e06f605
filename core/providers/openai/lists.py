"""The lists of files and batches at a provider in OpenAI's form, read page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from core.providers.http.client import ProviderHttp
from core.providers.http.cursors import Cursors, past
from core.providers.openai.wire import (
    Page,
    RemoteFile,
    RemoteJob,
    read_created,
    read_files,
    read_job,
    read_jobs,
)

T = TypeVar("T")

PAGE = 100


Params = Mapping[str, str | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """Where a server keeps its batches, and how what it says of them is read.

    Each reader raises msgspec.DecodeError.
    """

    path: str
    read: Callable[[bytes], RemoteJob]
    read_created: Callable[[bytes], RemoteJob]
    read_page: Callable[[bytes], Page[RemoteJob]]
    list_params: Params = field(default_factory=lambda: {"limit": PAGE})
    file_params: Params = field(default_factory=lambda: {"order": "desc", "limit": PAGE})
    size_param: str = "limit"
    numbered: str = ""
    """The parameter that names a page by its number, from 0 on; empty: pages are named by
    what the one before says."""


JOBS = Jobs(path="/batches", read=read_job, read_created=read_created, read_page=read_jobs)


class Lists:
    """What a key sees. Raises ProviderUnavailable, ProviderRejected while it is read."""

    def __init__(self, http: ProviderHttp, jobs: Jobs) -> None:
        self._http = http
        self._jobs = jobs

    async def look(self) -> None:
        """Ask for the first batch, whatever it is."""
        path, params = self._jobs.path, {**self._jobs.list_params, self._jobs.size_param: 1}
        await self._http.call("GET", path, self._jobs.read_page, params=params)

    async def jobs(self, oldest: datetime) -> AsyncGenerator[RemoteJob, None]:
        """All batches created from `oldest` on, and perhaps older ones."""
        async for jobs in self.pages_of_jobs(oldest):
            for job in jobs:
                yield job

    async def pages_of_jobs(self, oldest: datetime) -> AsyncGenerator[list[RemoteJob], None]:
        """The same page by page."""
        async for jobs in self._pages(
            self._jobs.path, self._jobs.list_params, self._jobs.read_page
        ):
            yield jobs
            if past([job.created_at for job in jobs], self._http.surely_since(oldest)):
                return

    async def files(self, purpose: str, oldest: datetime) -> AsyncGenerator[RemoteFile, None]:
        """All files of a purpose created from `oldest` on, and perhaps older ones."""
        params = {"purpose": purpose, **self._jobs.file_params}
        async for files in self._pages("/files", params, read_files):
            for file in files:
                yield file
            if past([file.created_at for file in files], self._http.surely_since(oldest)):
                return

    async def _pages(
        self, path: str, params: Params, read: Callable[[bytes], Page[T]]
    ) -> AsyncGenerator[list[T], None]:
        cursor: dict[str, str] = {}
        cursors = Cursors()
        number = 0
        while True:
            if self._jobs.numbered:
                cursor = {self._jobs.numbered: str(number)}
            page = await self._http.call("GET", path, read, params={**params, **cursor})
            yield page.items
            number += 1
            if self._jobs.numbered:
                more = str(number) if len(page.items) >= PAGE else ""
            else:
                cursor = page.next or {}
                more = "".join(cursor.values())
            if not cursors.follow(more):
                return
