"""Anthropic's Message Batches.

Facts: anthropic 2.12.0 types, the Claude docs on batch processing, errors and versions.
What decides about money: a create carries nothing of ours that a get or list gives back;
only the results name our custom_ids, and only after the end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import quote

import msgspec

from core.endpoints import CHAT_COMPLETIONS, MESSAGES, RESPONSES
from core.providers.anthropic.batches import STATES, Batch, batch_of, read_batch, read_page
from core.providers.anthropic.native import SUFFIX, native_answer, native_params
from core.providers.anthropic.translation import read_line, translate_request
from core.providers.catalogue import find_model
from core.providers.contract import (
    NO_UPLOAD,
    EncodedLine,
    FindOutcome,
    Found,
    Framing,
    Gate,
    Intent,
    LineRejected,
    Listed,
    Outcome,
    OutcomeUnknown,
    ProviderLimits,
    Refused,
    RemoteBatch,
    RemoteState,
    ResultLine,
    ResultsGone,
    SubmitOutcome,
    Unsure,
    Upload,
    accepted,
    always_open,
    parse_custom_id,
)
from core.providers.http import repeated
from core.providers.http.client import ProviderHttp
from core.providers.http.cursors import Cursors
from core.providers.list_search import CLOCK_MARGIN, look_up, not_listed
from core.providers.result_lines import UnreadableLine, download_results, read_results
from core.providers.translation import dropped_fields
from core.providers.translation.responses import marked, restored, through_chat, with_responses

VERSION = "2023-06-01"
"""anthropic-version. The newer 2026-10-21 refuses temperature and top_p for all models."""

LIMITS = ProviderLimits(
    max_lines=100_000,
    # "256 MB": the smaller reading, so that no batch is refused for its size.
    max_bytes=256_000_000,
    one_model_per_batch=False,
    endpoints=with_responses(frozenset({CHAT_COMPLETIONS, MESSAGES})),
)

BATCHES = "/v1/messages/batches"
PAGE = 100


class AnthropicProvider:
    """Anthropic's Message Batches with one key."""

    name = "anthropic"
    limits = LIMITS
    keeps_results = timedelta(days=29)
    input_lifetime = timedelta()
    framing = Framing(prefix=b'{"requests":[', separator=b",\n", suffix=b"]}")

    def __init__(
        self,
        http: ProviderHttp,
        *,
        settle: timedelta,
        betas: Collection[str] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`settle`: how long absence is doubted; `betas`: what the client's headers ask for."""
        self._http = http
        self._betas = frozenset(betas)
        self._settle = settle
        self._now = now

    def remote_model(self, model: str) -> str:
        """The provider's id ("anthropic/claude-4.5-sonnet" -> "claude-sonnet-4-5-20250929")."""
        return find_model(self.name, model).id

    def encode_line(
        self, custom_id: str, url: str, model: str, body: bytes, *, lenient: bool = False
    ) -> EncodedLine:
        """Put one request into Anthropic's form. Raises LineRejected."""
        if url not in self.limits.endpoints:
            raise LineRejected("url", "unsupported_endpoint", f"Anthropic has no {url}.")
        if url == MESSAGES:
            params = native_params(body, self.remote_model(model), self._betas)
            return b'{"custom_id":"%b","params":%b}' % ((custom_id + SUFFIX).encode(), params), ()
        found = find_model(self.name, model)
        if url == RESPONSES:
            translate = partial(translate_request, found, lenient=lenient)
            params, notes = through_chat(translate, body, lenient=lenient, passes_user=True)
            custom_id = marked(custom_id)
        else:
            params, notes = translate_request(found, body, lenient=lenient)
        line = b'{"custom_id":"%b","params":%b}' % (custom_id.encode(), params)
        return line, dropped_fields(notes) if lenient else ()

    async def check(self) -> None:
        """Ask for one batch: what the key may not see, it may not make."""
        await self._http.call("GET", BATCHES, read_page, params={"limit": 1})

    async def submit(
        self, intent: Intent, source: Path | Upload, *, gate: Gate = always_open
    ) -> SubmitOutcome:
        """Send the spool as one create. Never repeats it by itself."""
        assert isinstance(source, Path), "nothing is ever uploaded"
        outcome = await self._http.create(
            BATCHES, source, deadline=self._http.deadline(), gate=partial(gate, NO_UPLOAD)
        )
        if isinstance(outcome, (Refused, OutcomeUnknown)):
            return outcome
        return accepted(BATCHES, outcome, lambda body: read_batch(body).id)

    async def find(
        self, intent: Intent, known: frozenset[str], *, quiet_since: datetime | None = None
    ) -> FindOutcome:
        """Ask whether the batch of an intent exists, by time, count and first results.

        A candidate that still runs, or that shows no line, cannot be told from
        somebody else's: Unsure for as long as there is one.
        """
        asked_at = self._now()
        open_ones: list[str] = []
        async for batch in self._batches(intent.intended_at - CLOCK_MARGIN):
            if batch.id in known or batch.request_counts.total != intent.line_count:
                continue
            ended = STATES.get(batch.processing_status) is RemoteState.ENDED
            carried = await self._carries(batch, intent) if ended else None
            if carried:
                return Found(batch.id)
            if carried is None:
                open_ones.append(batch.id)
        if open_ones:
            return Unsure(f"{', '.join(open_ones[:5])} may be it: its results have to say.")
        return not_listed(
            intent, asked_at, quiet_since, timeout=self._http.timeout, settle=self._settle
        )

    async def _batches(self, oldest: datetime) -> AsyncGenerator[Batch, None]:
        """The batches from `oldest` on by our clock, newest first (documented)."""
        async for page in self._pages(oldest):
            # Not before a page is there: its answer tells the provider's time.
            oldest_there = self._http.surely_since(oldest)
            for batch in page:
                if batch.created_at < oldest_there:
                    return
                yield batch

    async def _pages(self, oldest: datetime) -> AsyncGenerator[list[Batch], None]:
        """The same page by page; the last may hold older ones."""
        params: dict[str, str | int] = {"limit": PAGE}
        cursors = Cursors()
        while True:
            page = await self._http.call("GET", BATCHES, read_page, params=params)
            yield page.data
            oldest_there = self._http.surely_since(oldest)
            if not page.has_more or not page.data or page.data[-1].created_at < oldest_there:
                return
            if not cursors.follow(page.data[-1].id):
                return
            params["after_id"] = page.data[-1].id

    async def _carries(self, batch: Batch, intent: Intent) -> bool | None:
        """Whether the first result lines of an ended batch are the intent's.

        None: none is readable.
        """
        async with (
            aclosing(
                self._http.download(self._results_address(batch.id, batch.results_url))
            ) as chunks,
            aclosing(read_results(chunks, _read_ours, source=batch.id)) as groups,
        ):
            async for group in groups:
                # More than one: a line that nobody sent may be among them.
                ids = (parse_custom_id(line.custom_id) or ("", "", 0) for line in group)
                ours = (intent.shard_id, intent.file_token or intent.token)
                return any(each[:2] == ours for each in ids)
        return None

    def _results_address(self, remote_id: str, results_url: str | None) -> str:
        """Where the results are: never on a host other than the provider's own."""
        if results_url is not None and self._http.own(results_url):
            return results_url
        return f"{BATCHES}/{quote(remote_id, safe='')}/results"

    async def poll(self, remote_id: str) -> RemoteBatch:
        """Ask how the batch stands. Raises ProviderUnavailable, ProviderRejected."""
        path = f"{BATCHES}/{quote(remote_id, safe='')}"
        return self._batch_of(await self._http.call("GET", path, read_batch))

    async def poll_many(self, remote_ids: Collection[str], oldest: datetime) -> Listed:
        """Ask for many batches at once. Raises ProviderUnavailable, ProviderRejected."""
        pages = self._pages(oldest - CLOCK_MARGIN)
        return await look_up(pages, remote_ids, self._batch_of, id_of=lambda batch: batch.id)

    def _batch_of(self, batch: Batch) -> RemoteBatch:
        return batch_of(batch, self._results_address(batch.id, batch.results_url))

    async def results(self, batch: RemoteBatch) -> AsyncGenerator[Sequence[ResultLine], None]:
        """Stream the result lines, translated."""
        created = int(batch.ended_at.timestamp()) if batch.ended_at else 0
        if not batch.result_sources:
            text = f"{batch.remote_id} is archived: its results were kept for 29 days."
            raise ResultsGone("results_expired", text, 404)
        for source in batch.result_sources:
            # Named by the provider, and perhaps kept since its address was another.
            address = self._results_address(batch.remote_id, source)
            lines = download_results(
                self._http, address, lambda line: read_result(line, created), batch, now=self._now
            )
            async with aclosing(lines) as groups:
                async for group in groups:
                    yield group

    async def cancel(self, remote_id: str) -> None:
        """Ask for the end. No error when it has ended already."""
        path = f"{BATCHES}/{quote(remote_id, safe='')}/cancel"
        await repeated.cancel(self._http, path, partial(self.poll, remote_id))

    async def discard(self, remote_file_id: str) -> None:
        """Nothing to do: a batch has no input file."""

    async def discard_all(self, shard_id: str, since: datetime) -> int:
        """Nothing to do, either."""
        return 0

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def read_result(line: bytes, created: int) -> ResultLine:
    """Read a result line in the form that its request has asked for."""
    read = read_line(line, created)
    if read.custom_id.endswith(SUFFIX):
        return native_answer(read, line)
    return restored(read)


class _Ours(msgspec.Struct):
    custom_id: str


_ours = msgspec.json.Decoder(_Ours)


def _read_ours(line: bytes) -> ResultLine:
    """Only the custom_id of a result line: enough to know whose it is."""
    try:
        custom_id = _ours.decode(line).custom_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnreadableLine from None
    return restored(ResultLine(custom_id.removesuffix(SUFFIX), Outcome.FAILED, None, None))
