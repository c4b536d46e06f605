"""The asyncio client: the methods of Client as coroutines and asynchronous iterators."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from polybatch._base_client import BaseClient
from polybatch._operations.requests import batch_request, retry_request
from polybatch._transport import AioTransport
from polybatch.async_files import AsyncFiles
from polybatch.models import BatchPriority, ResultFilter
from polybatch.models.money import USD

if TYPE_CHECKING:
    from polybatch._operations.conversions import Form
    from polybatch._operations.settled_downloads import ExtentObserver
    from polybatch._operations.sources import Progress, UploadInput
    from polybatch._operations.uploads import EstimateObserver
    from polybatch._operations.watches import BatchProgress
    from polybatch.async_administration import AsyncAccounts, AsyncKeys, AsyncUsageReport
    from polybatch.async_webhooks import AsyncWebhooks
    from polybatch.models import (
        Batch,
        BatchEstimate,
        BatchState,
        ConvertedLines,
        FailureCauses,
        File,
        LineFailure,
        Manifest,
        Price,
        Provider,
        ResultLine,
        UploadStatus,
    )

__all__ = ["AsyncBatches", "AsyncClient"]


class AsyncClient(BaseClient):
    """Client of polybatch for one event loop. Close it, or use it in `async with`.

    Arguments left out are taken from the environment, see Connection.resolve. Every
    method raises a PolybatchError (see polybatch.errors).
    A service that is away, or breaks off, is waited for: `wait` seconds in which nothing
    gets through, 120 if neither it nor POLYBATCH_WAIT says otherwise; 0 raises at once.
    Then an upload, a watch or a download goes on where it was. `retry` says more of the
    waits. `on_retry` is called before each with the error and the seconds, `on_back` with
    "gateway" or "collector" when it answers again.
    """

    _transport_type = AioTransport

    @cached_property
    def files(self) -> AsyncFiles:
        """The account's files."""
        return AsyncFiles(self)

    @cached_property
    def batches(self) -> AsyncBatches:
        """The account's batches, by shorter names."""
        return AsyncBatches(self)

    @cached_property
    def keys(self) -> AsyncKeys:
        """Keys of the account."""
        from polybatch.async_administration import AsyncKeys

        return AsyncKeys(self._accounts)

    @cached_property
    def accounts(self) -> AsyncAccounts:
        """All accounts, for operators."""
        from polybatch.async_administration import AsyncAccounts

        return AsyncAccounts(self._accounts)

    @cached_property
    def usage(self) -> AsyncUsageReport:
        """What was used, and what it cost."""
        from polybatch.async_administration import AsyncUsageReport

        return AsyncUsageReport(self._accounts)

    @cached_property
    def webhooks(self) -> AsyncWebhooks:
        """Urls of the account that are called when a batch has ended."""
        from polybatch.async_webhooks import AsyncWebhooks

        return AsyncWebhooks(self._webhooks)

    async def close(self) -> None:
        """Closes the connections. Calls still open end, and later ones fail: CLIENT_CLOSED."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.close()

    async def upload(
        self,
        content: UploadInput,
        *,
        filename: str | None = None,
        provider: str | None = None,
        model: str | None = None,
        upload_id: str | None = None,
        expires_after: timedelta | None = None,
        progress: Progress | None = None,
    ) -> File:
        """Uploads one JSONL file and returns it, checked line by line.

        `content` is a path, bytes, an open file (from where it stands), or an iterable,
        asynchronous or not, of requests (dicts), of lines (str or bytes) or of pieces of a
        file. A broken stream is resumed by itself; what can be read only once is kept in
        memory until it is committed. A file with bad lines is no error: its state is INVALID
        and `problems` holds the first 20.
        `provider`: of lines that name none and whose model tells none; `model`: of lines
        whose form may leave it out (Gemini's own).
        `upload_id` continues an upload begun with that id, in another process even.
        `expires_after`: 1 hour to 30 days, after which the file is deleted; kept if left out.
        """
        from polybatch._operations.uploads import Naming

        return await self._uploads.upload(
            content,
            Naming(filename, provider, model, expires_after),
            upload_id=upload_id,
            progress=progress,
        )

    async def upload_status(self, upload_id: str) -> UploadStatus:
        """Returns how far an upload has come. NotFound where nothing is committed."""
        return await self._uploads.status(upload_id)

    async def submit(
        self,
        content: UploadInput,
        *,
        filename: str | None = None,
        provider: str | None = None,
        model: str | None = None,
        upload_id: str | None = None,
        completion_window: timedelta | None = None,
        metadata: Mapping[str, str] | None = None,
        skip_invalid_lines: bool = False,
        lenient: bool = False,
        fail_fast: bool = False,
        request_id: str | None = None,
        max_cost: USD | None = None,
        key_id: str | None = None,
        webhook_url: str | None = None,
        name: str | None = None,
        results_retention: timedelta | None = None,
        reuse_answers: timedelta | None = None,
        rescue_before: timedelta | None = None,
        priority: BatchPriority = BatchPriority.NORMAL,
        canary_lines: int = 0,
        canary_max_failure_rate: float | None = None,
        max_failure_rate: float | None = None,
        progress: Progress | None = None,
        on_estimate: EstimateObserver | None = None,
    ) -> Batch:
        """Uploads a file and makes a batch of it in one call; see `upload`, `create_batch`.

        Raises InvalidLines if a line is bad and `skip_invalid_lines` is not set, and keeps the file
        for its validation report. If the batch is refused for anything else, the file is deleted,
        unless an `upload_id`, a `request_id` or `on_estimate` came with it: then the same call
        can go on with it, or the error names it (`metadata["file_id"]`).
        `lenient` takes the lines that are bad only for what their provider lacks. The same
        `request_id` with the same content continues the same upload and returns the same
        batch, in another process even; with other content it raises Conflict. `max_cost`: USD, as
        Decimal or "1.50"; what would go past it is not sent. `key_id`: another key of the account
        that it is billed to, which takes a key of the scope "account". `webhook_url` and
        what follows: as of `create_batch`. `on_estimate` is called with what the batch will cost
        once the file is uploaded; if it raises, no batch is made, and the file (`input_file_id`)
        is kept.
        """
        from polybatch._operations.uploads import Naming

        request = batch_request(
            completion_window=completion_window,
            metadata=metadata,
            skip_invalid_lines=skip_invalid_lines,
            lenient=lenient,
            fail_fast=fail_fast,
            request_id=request_id,
            max_cost=max_cost,
            key_id=key_id,
            webhook_url=webhook_url,
            name=name,
            results_retention=results_retention,
            reuse_answers=reuse_answers,
            rescue_before=rescue_before,
            priority=priority,
            canary_lines=canary_lines,
            canary_max_failure_rate=canary_max_failure_rate,
            max_failure_rate=max_failure_rate,
        )
        return await self._uploads.submit(
            content,
            request,
            Naming(filename, provider, model),
            upload_id=upload_id,
            request_id=request_id,
            progress=progress,
            on_estimate=on_estimate,
        )

    async def convert_lines(
        self,
        lines: bytes,
        *,
        to: Form | None = None,
        model: str | None = None,
        provider: str | None = None,
        lenient: bool = False,
        first_line: int = 1,
    ) -> ConvertedLines:
        """Converts request lines, some megabytes at a time, into the form of another API.

        `to`: "openai", "anthropic" or "gemini"; None leaves each line its form, and only sets
        `model` and `provider`, which take the place of the lines' own. What would be lost is
        refused by line and field, or left out where `lenient` is set. `first_line`: the number
        of the first one, for the problems.
        """
        return await self._conversions.convert_lines(
            lines,
            to=to,
            model=model,
            provider=provider,
            lenient=lenient,
            first_line=first_line,
        )

    async def create_batch(
        self,
        input_file: str | File,
        *,
        completion_window: timedelta | None = None,
        metadata: Mapping[str, str] | None = None,
        skip_invalid_lines: bool = False,
        lenient: bool = False,
        fail_fast: bool = False,
        request_id: str | None = None,
        max_cost: USD | None = None,
        key_id: str | None = None,
        webhook_url: str | None = None,
        name: str | None = None,
        results_retention: timedelta | None = None,
        reuse_answers: timedelta | None = None,
        rescue_before: timedelta | None = None,
        priority: BatchPriority = BatchPriority.NORMAL,
        canary_lines: int = 0,
        canary_max_failure_rate: float | None = None,
        max_failure_rate: float | None = None,
    ) -> Batch:
        """Makes a batch of an uploaded file, given as such or by its id.

        `completion_window`: 1 second to 7 days, 24 hours if left out. `lenient`: leave
        out what a line asks for and its provider lacks, instead of refusing the line; the
        results tell what. `fail_fast`: fail lines at once where their provider refuses the
        key, instead of letting them wait for another. The same `request_id` returns the
        same batch, however often it is asked. `max_cost`, `key_id`: as for `submit`. `webhook_url`:
        where the event of its end is delivered to, signed with the secret that `webhooks.create`
        made with `for_batch_urls`. `name`: for people, to find it by. `results_retention`: how long
        after its end results and input are kept, 1 hour to 30 days; as the account or the service
        is set if left out.
        made with `for_batch_urls`. `reuse_answers`: lines that ask what an earlier line asks take
        its answer and cost nothing: lines of this batch, and of the account's other batches with
        this option that are not older than this; timedelta(0): of this batch only.
        `rescue_before`: so long before the window closes, lines that are not answered are called
        one by one, at the real-time price. `priority`: which of the account's batches go first.
        `canary_lines`: so many lines of each model go first, spread over the file, and the others
        only where no larger share of any model's failed than `canary_max_failure_rate` (0.1).
        `max_failure_rate`: nothing more is sent once a larger share of 20 lines or more failed.
        """
        request = batch_request(
            input_file_id=input_file if isinstance(input_file, str) else input_file.id,
            completion_window=completion_window,
            metadata=metadata,
            skip_invalid_lines=skip_invalid_lines,
            lenient=lenient,
            fail_fast=fail_fast,
            request_id=request_id,
            max_cost=max_cost,
            key_id=key_id,
            webhook_url=webhook_url,
            name=name,
            results_retention=results_retention,
            reuse_answers=reuse_answers,
            rescue_before=rescue_before,
            priority=priority,
            canary_lines=canary_lines,
            canary_max_failure_rate=canary_max_failure_rate,
            max_failure_rate=max_failure_rate,
        )
        return await self._requests.create_batch(request)

    async def estimate(self, input_file: str | File, *, lenient: bool = False) -> BatchEstimate:
        """Returns what a batch of an uploaded file will cost: as expected, and at the most.

        The file is given as such or by its id. `lenient`: as of `create_batch`. Of bad lines
        nothing is reckoned. Nothing is sent to a provider.
        """
        file_id = input_file if isinstance(input_file, str) else input_file.id
        return await self._requests.estimate(file_id, lenient=lenient)

    async def get_batch(self, batch_id: str) -> Batch:
        """Returns a batch as it is now."""
        return await self._requests.get_batch(batch_id)

    def list_batches(
        self, *, states: Iterable[BatchState] = (), filter: str = "", page_size: int = 100
    ) -> AsyncGenerator[Batch, None]:
        """Yields the account's batches, newest first, fetched page by page.

        `filter`: what all of them meet, such as `state = COMPLETED AND name:nightly AND
        metadata.team = "search"`; of state, name, model, key, parent, metadata.KEY and create_time.
        InvalidRequest says where it is wrong.
        """
        return self._requests.list_batches(states, filter, page_size)

    async def cancel_batch(self, batch_id: str) -> Batch:
        """Asks for the end of a batch; watch it to see it end."""
        return await self._requests.cancel_batch(batch_id)

    async def pause_batch(self, batch_id: str) -> Batch:
        """Lets nothing more of a batch be sent until it is resumed.

        What is at a provider comes home, and the completion window goes on.
        """
        return await self._requests.pause_batch(batch_id)

    async def resume_batch(self, batch_id: str) -> Batch:
        """Lets a paused batch go on."""
        return await self._requests.resume_batch(batch_id)

    async def retry_batch(
        self,
        batch_id: str,
        *,
        codes: Iterable[str] = (),
        cause_ids: Iterable[str] = (),
        completion_window: timedelta | None = None,
        max_cost: USD | None = None,
        name: str = "",
        request_id: str | None = None,
    ) -> Batch:
        """Makes a batch of the lines of an ended one that did not succeed, and returns it.

        `codes`, `cause_ids`: only lines with one of these error codes, and of these causes (as in
        `failure_causes`). Lines that another retry has answered, or may still answer, are left out;
        Conflict (NOTHING_TO_RETRY) where none is left. What is not given is as of the batch;
        `request_id` as of `create_batch`. `results(..., merged=True)` has all as one file.
        """
        request = retry_request(
            batch_id,
            codes=codes,
            cause_ids=cause_ids,
            completion_window=completion_window,
            max_cost=max_cost,
            name=name,
            request_id=request_id,
        )
        return await self._requests.retry_batch(request)

    async def delete_batch(self, batch_id: str) -> None:
        """Deletes an ended batch: its results, and its input where no other batch has it.

        Conflict while it has not ended.
        """
        await self._requests.delete_batch(batch_id)

    async def delete_results(
        self, batch_id: str, *, filter: ResultFilter = ResultFilter.ALL
    ) -> Batch:
        """Deletes the results of an ended batch, or some of them; the batch and its input stay."""
        return await self._requests.delete_results(batch_id, filter)

    def watch(
        self, batch_id: str, *, last_revision: int = 0, timeout: float | None = None
    ) -> AsyncGenerator[Batch, None]:
        """Yields snapshots of a batch with rising revisions, the last one when it has ended.

        Outlives broken connections. Leaving the loop ends the call. WaitTimeout after
        `timeout` seconds.
        """
        return self._watches.watch(batch_id, last_revision=last_revision, within=timeout)

    def watch_all(self) -> AsyncGenerator[Batch, None]:
        """Yields snapshots of all the account's batches: the open ones, then every change."""
        return self._watches.watch_all()

    async def wait(
        self,
        batch_id: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as in the blocking client
        progress: BatchProgress | None = None,
    ) -> Batch:
        """Returns the batch once it has ended. WaitTimeout after `timeout` seconds.

        `progress` is called with each snapshot, as `watch` yields them.
        """
        return await self._watches.wait(batch_id, within=timeout, progress=progress)

    def results(
        self,
        batch_id: str,
        *,
        filter: ResultFilter = ResultFilter.ALL,
        partial: bool = False,
        follow: bool = False,
        merged: bool = False,
        on_extent: ExtentObserver | None = None,
    ) -> AsyncGenerator[ResultLine, None]:
        """Yields the results in input order. Conflict if the batch has not ended.

        `partial`: of a batch that may not have ended, what is settled so far; `follow`: then go on
        with what comes next, each line once, until its end; `merged`: of the batch and of its
        retries, each line of its input once, with the newest outcome. `on_extent` is called with
        how much there is, of these three.
        """
        if partial or follow or merged:
            return self._settled.lines(
                batch_id, filter, follow=follow, merged=merged, on_extent=on_extent
            )
        return self._downloads.results(batch_id, filter)

    def result_chunks(
        self,
        batch_id: str,
        *,
        filter: ResultFilter = ResultFilter.ALL,
        partial: bool = False,
        follow: bool = False,
        merged: bool = False,
        on_extent: ExtentObserver | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Yields the bytes of the result file as they come, in no relation to lines.

        With `partial`, `follow` or `merged`, as of `results`, whole lines.
        """
        if partial or follow or merged:
            return self._settled.chunks(
                batch_id, filter, follow=follow, merged=merged, on_extent=on_extent
            )
        return self._downloads.result_chunks(batch_id, filter)

    async def download_results(
        self,
        batch_id: str,
        path: str | os.PathLike[str],
        *,
        filter: ResultFilter = ResultFilter.ALL,
        progress: Progress | None = None,
    ) -> Manifest:
        """Writes the results to `path`, whole or not at all, and returns the manifest.

        The unfiltered file is checked against the manifest's digest (else DataError).
        """
        return await self._downloads.save_results(batch_id, Path(path), filter, progress)

    async def manifest(self, batch_id: str) -> Manifest:
        """Returns the proof of completeness that was written with the results."""
        return await self._downloads.manifest(batch_id)

    def failures(
        self, batch_id: str, *, cause_id: str = "", partial: bool = False, page_size: int = 1000
    ) -> AsyncGenerator[LineFailure, None]:
        """Yields the lines that failed, in input order, fetched page by page.

        `cause_id`: only those of this cause, as in `failure_causes`; `partial`: of a batch that
        has not ended, those that are settled so far.
        """
        return self._requests.failures(batch_id, page_size, cause_id, partial=partial)

    async def failure_causes(self, batch_id: str, *, partial: bool = False) -> FailureCauses:
        """Returns the lines that failed by cause, the most frequent first.

        `partial`: of a batch that has not ended, those that are settled so far.
        """
        return await self._requests.failure_causes(batch_id, partial=partial)

    async def providers(self) -> list[Provider]:
        """Returns what the service knows of each provider, with a key or without."""
        return await self._requests.providers()

    async def pause_provider(self, name: str) -> Provider:
        """Lets nothing more be sent to a provider, of any account, until it is resumed.

        Takes a key of the scope "operator". What is there comes home.
        """
        return await self._requests.pause_provider(name)

    async def resume_provider(self, name: str) -> Provider:
        """Lets a paused provider have work again. Takes a key of the scope "operator"."""
        return await self._requests.resume_provider(name)

    async def prices(self, model: str = "", *, day: date | None = None) -> list[Price]:
        """Returns what a model costs the account, in batches and in real time, as of a day (UTC).

        `model`: "provider/model", or a model alone, then of each provider that may be meant;
        empty: all that are listed. `day`: today, if it is not given.
        """
        return await self._requests.prices(model, day)


class AsyncBatches:
    """The batches of the account: `client.batches`, the client's own methods by shorter names."""

    def __init__(self, client: AsyncClient) -> None:
        self.submit: Final = client.submit
        self.create: Final = client.create_batch
        self.estimate: Final = client.estimate
        self.get: Final = client.get_batch
        self.list: Final = client.list_batches
        self.cancel: Final = client.cancel_batch
        self.pause: Final = client.pause_batch
        self.resume: Final = client.resume_batch
        self.delete: Final = client.delete_batch
        self.delete_results: Final = client.delete_results
        self.watch: Final = client.watch
        self.wait: Final = client.wait
        self.results: Final = client.results
        self.failures: Final = client.failures
        self.failure_causes: Final = client.failure_causes
        self.manifest: Final = client.manifest
