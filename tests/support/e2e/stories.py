"""What a user sees of a batch from its submission to its end, told for several at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from polybatch import Batch, BatchState, LineFailure, Manifest, ResultLine

from core.ledger import Ledger, Posting
from core.prices.rates import Price, Processing
from core.prices.snapshot import read_snapshot
from core.prices.usage import Usage
from tests.support.e2e.inputs import chat, check_answers, write
from tests.support.e2e.ledger import in_ledger
from tests.support.e2e.suite import Suite, wait_for
from tests.support.ledger.money import check_books, rows
from tests.support.sandbox.waste import assert_nothing_wasted

MODELS = {
    "openai": "openai/gpt-4.1",
    "anthropic": "anthropic/claude-4.6-sonnet",
    "gemini": "gemini/gemini-3.8-flash",
}
PROVIDERS = tuple(MODELS)

UPLOAD = {"openai": "^/v1/files$", "gemini": "^/upload/v1beta/files$"}
CREATE = {
    "openai": "^/v1/batches$",
    "anthropic": "^/v1/messages/batches$",
    "gemini": ":batchGenerateContent$",
}
POLL = {
    "openai": "^/v1/batches/[^/]+$",
    "anthropic": "^/v1/messages/batches/[^/]+$",
    "gemini": "^/v1beta/batches/[^/:]+$",
}
CANCEL = {
    "openai": "^/v1/batches/[^/]+/cancel$",
    "anthropic": "^/v1/messages/batches/[^/]+/cancel$",
    "gemini": "^/v1beta/batches/[^/]+:cancel$",
}
RESULTS = {
    "openai": "/content$",
    "anthropic": "/results$",
    "gemini": "^/download/v1beta/files/",
}

BUSY = {"kind": "status", "status": 429, "retry_after": 0.2, "calls": ["create"]}
"""A fault: no batch is created, and each is tried again."""


def ask(
    number: int, providers: Sequence[str] = PROVIDERS, text: str | None = None
) -> dict[str, Any]:
    """A chat request; the providers take turns."""
    provider = providers[number % len(providers)]
    line = chat(number, text)
    line["provider"] = provider
    line["body"]["model"] = MODELS[provider]
    return line


def strike(
    method: str, paths: Iterable[str], *faults: dict[str, Any], count: int = 1
) -> list[dict[str, Any]]:
    """Each of these faults for calls to each of these paths, one after another."""
    return [
        {"method": method, "path": path, "count": count, **fault}
        for path in paths
        for fault in faults
    ]


@dataclass
class Story:
    """A batch from its submission to its end."""

    ended: Batch
    lines: list[ResultLine]
    failures: list[LineFailure]
    manifest: Manifest
    reasons: dict[str, set[str]] = field(default_factory=dict)
    """Provider to the reasons that its shards gave for waiting."""
    snapshots: list[Batch] = field(default_factory=list)

    @property
    def attempts(self) -> set[int]:
        return {line.attempts for line in self.lines}

    @property
    def outcomes(self) -> Counter[str]:
        """What became of the lines: "ok", an error's code, or a response's status."""
        return Counter(map(outcome, self.lines))

    def check_went_well(self, count: int) -> None:
        """Completed, every line answered at its first attempt, nothing to explain."""
        assert self.ended.state == BatchState.COMPLETED
        assert self.outcomes == {"ok": count}
        assert self.attempts == {1}
        assert self.failures == []


def see_retries(suite: Suite, count: int) -> Callable[[Batch], None]:
    """Has lines sent again only once a snapshot has shown that they are to be.

    To be called with each, while the sandbox's batches take for ever to begin with; `count`: all
    lines of the batch.
    """

    def look(snapshot: Batch) -> None:
        counts = snapshot.request_counts
        if counts.submitted + counts.processed == count:
            suite.sandbox("/sandbox/config", {"faults": [BUSY], "batch_seconds": 0})
        elif counts.retrying:
            suite.sandbox("/sandbox/config", {"faults": []})

    return look


def outcome(line: ResultLine) -> str:
    if line.ok:
        return "ok"
    if line.error is not None:
        return line.error.code
    assert line.response is not None, line.raw
    return str(line.response.status_code)


def tell(
    suite: Suite,
    path: Path,
    lines: Iterable[dict[str, Any]],
    *,
    on_snapshot: Callable[[Batch], None] = lambda _: None,
    patience: float = 100,
    **options: Any,
) -> Story:
    """Submit lines, watch the batch to its end, and look at all that is shown of it.

    Checks what holds whatever happens: counts add up and agree with the results, each line
    is there once, in order, answers its own question or says what became of it.
    """
    reasons: dict[str, set[str]] = defaultdict(set)
    snapshots = []
    asked = list(lines)
    with suite.client() as client:
        batch = client.submit(write(path, asked), **options)
        for snapshot in client.watch(batch.id, timeout=patience):
            snapshots.append(snapshot)
            for shard in snapshot.shards:
                if shard.waiting_reason:
                    reasons[shard.provider].add(shard.waiting_reason)
            on_snapshot(snapshot)
        ended = snapshots[-1]
        numbers = [int(line["custom_id"].removeprefix("line-")) for line in asked]
        found = list(check_answers(client.results(batch.id), numbers))
        failures = list(client.failures(batch.id))
        manifest = client.manifest(batch.id)
    for snapshot in snapshots:
        parts = snapshot.request_counts
        open_lines = parts.queued + parts.submitted + parts.processed + parts.retrying
        assert open_lines + parts.finished == parts.total == len(asked)
    good = sum(line.ok for line in found)
    counts = ended.request_counts
    assert (counts.succeeded, counts.unsuccessful) == (good, len(asked) - good)
    assert [failure.custom_id for failure in failures] == [
        line.custom_id for line in found if not line.ok
    ]
    assert all(failure.code and failure.message for failure in failures)
    assert manifest.input_line_count == len(asked)
    return Story(ended, found, failures, manifest, dict(reasons), snapshots)


def tell_all(suite: Suite, folder: Path, batches: Sequence[list[dict[str, Any]]]) -> list[Story]:
    """The stories of several batches that run at the same time."""
    with ThreadPoolExecutor(len(batches)) as pool:
        return list(
            pool.map(
                lambda number: tell(suite, folder / f"batch-{number}.jsonl", batches[number]),
                range(len(batches)),
            )
        )


def check_waste(bill: dict[str, Any], *, given_up: int = 0) -> None:
    """Nothing was wasted, by a sandbox's bill. `given_up`: see `check_bill`."""
    assert_nothing_wasted(bill, unfetched=given_up)


def check_bill(suite: Suite, lines: int, *, lost_uploads: bool = False, given_up: int = 0) -> None:
    """So many lines were paid for, none twice, and no uploaded input is left behind.

    And nothing else was wasted. `given_up`: paid lines of batches that ended before they did.
    """
    bill = suite.sandbox("/sandbox/bill")
    assert (bill["lines_billed"], bill["extra_billings"]) == (lines, 0)
    check_waste(bill, given_up=given_up)
    if lost_uploads:
        return
    # Deleted once the results are safe, which may be after the batch has ended.
    wait_for(
        lambda: suite.sandbox("/sandbox/bill")["uploads_kept"] == 0, "the inputs to be deleted"
    )


def check_costs(suite: Suite, batch_id: str, lines: Iterable[Decimal | None]) -> None:
    """What a batch and its lines cost is what the sandbox has billed, to the nano-dollar.

    `lines`: the costs of all lines of the one batch since the sandbox was reset.
    """

    async def read(ledger: Ledger) -> tuple[str | None, Sequence[Posting]]:
        await check_books(ledger)
        of_batch = [row for row in await rows(ledger, Posting) if row.batch_id == batch_id]
        return await ledger.batches.prices(batch_id), of_batch

    stored, postings = in_ledger(suite, read)
    assert stored is not None
    prices = read_snapshot(stored)
    billed = 0
    for line in suite.billed_lines():
        processing = Processing(line["processing"])
        price = prices.price(line["provider"], line["model"], processing)
        assert isinstance(price, Price)
        billed += price.cost(Usage(input=line["input_tokens"], output=line["output_tokens"]))
    told = [cost for cost in lines if cost is not None]
    with suite.client() as client:
        batch, manifest = client.get_batch(batch_id), client.manifest(batch_id)
    assert batch.cost is not None
    assert batch.cost.unpriced_line_count == 0
    assert billed > 0
    for found in (sum(told), batch.cost.so_far, manifest.cost):
        assert found * 10**9 == billed
    assert -sum(posting.balance_nanos for posting in postings) == billed


def check_all_struck(suite: Suite) -> None:
    """Every fault that was set has come about: the story is about what it claims to be."""
    left = suite.sandbox("/sandbox/config")["faults"]
    assert left == [], f"these did not happen: {left}"
