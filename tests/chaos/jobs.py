"""The batches that schedules run: each of another kind, with what may come of its lines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from polybatch import Batch, BatchState, Client, Conflict, NotFound, PolybatchError, ResultLine

from tests.chaos.cluster import wait_for

PATIENCE = 120.0
_MOST_RETRIES = 6

MODELS = {
    "openai": "openai/gpt-4.1",
    "anthropic": "anthropic/claude-4.6-sonnet",
    "gemini": "gemini/gemini-3.8-flash",
    "slow": "slow/gpt-4.1",
    "ghost": "ghost/gpt-4.1",
    "choosy": "choosy/gpt-4.1",
    "paid": "paid/llama3.2:3b",
    "local": "local/llama3.2:3b",
}
QUICK = ("openai", "anthropic", "gemini", "paid")
"""Providers whose lines are all on one bill, that of the quick sandbox."""

CULPRIT = "invalid_request"
"""Code of lines that the slow provider names as those for which it refuses a batch."""
OK = frozenset({"ok"})
DONE = frozenset({BatchState.COMPLETED})


@dataclass
class Line:
    """One line of the input, and the codes that its result may have; "ok" for an answer."""

    text: str
    may: frozenset[str] = OK
    question: str = ""
    """What its answer repeats."""
    custom_id: str = ""
    provider: str = ""


@dataclass
class Job:
    """One batch from its upload to the reading of its results."""

    name: str
    """Unlike that of any other job: no two lines of all jobs are the same."""
    lines: list[Line] = field(default_factory=list)
    options: Mapping[str, Any] = field(default_factory=dict)
    ends: frozenset[BatchState] = DONE
    meddle: Callable[[Client, Batch], None] | None = None
    """What its owner does once it is made."""
    merged: bool = False
    """Its answers are those of the batch and of its retries."""
    deletes: bool = False
    """Its owner deletes it at its end, having read the results, unless late answers may come."""
    batch: Batch | None = None
    answers: list[ResultLine] = field(default_factory=list)

    def ask(
        self,
        provider: str,
        mark: str = "",
        may: frozenset[str] = OK,
        question: str = "",
        **body: Any,
    ) -> None:
        """Add a line for a provider. `question`: one that others ask as well; else its own."""
        number = len(self.lines)
        question = question or f"question {self.name}-{number}."
        custom_id = f"{self.name}-{number}"
        if provider == "paid":
            # What was under way when the dispatcher died is reported, not paid twice.
            may |= {"result_missing"}
        request = {
            "custom_id": custom_id,
            "provider": provider,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": MODELS[provider],
                "messages": [{"role": "user", "content": f"{question} {mark}".strip()}],
                "max_tokens": 100,
                **body,
            },
        }
        self.lines.append(Line(json.dumps(request), may, question, custom_id, provider))

    def write(self, folder: Path) -> Path:
        """The input file."""
        path = folder / f"{self.name}.jsonl"
        path.write_text("".join(f"{line.text}\n" for line in self.lines))
        return path

    def run(self, client: Client, folder: Path) -> None:
        """Submit it, wait for its end and read its results."""
        self.batch = client.submit(
            self.write(folder),
            request_id=self.name,
            upload_id=f"upload-{self.name}",
            **self.options,
        )
        if self.meddle is not None:
            self.meddle(client, self.batch)
        self.batch = client.wait(self.batch.id, timeout=PATIENCE)
        if self.deletes and self.batch.awaited_line_count:
            self._delete(client)
            return
        if self.batch.awaited_line_count:
            # What its providers had when it was stopped comes home after its end.
            wait_for(lambda: self._fetched(client), f"late answers of {self.name}", PATIENCE)
        if self.batch.state != BatchState.FAILED:
            self.batch = client.get_batch(self.batch.id)
            self.answers = list(client.results(self.batch.id, merged=self.merged))
        if self.deletes:
            self._delete(client)

    def _delete(self, client: Client) -> None:
        assert self.batch is not None
        client.delete_batch(self.batch.id)
        with suppress(NotFound):
            client.get_batch(self.batch.id)
            raise AssertionError(f"{self.name} is there after its deletion")
        assert self.batch.id not in {batch.id for batch in client.list_batches()}

    def _fetched(self, client: Client) -> bool:
        assert self.batch is not None
        self.batch = client.get_batch(self.batch.id)
        return not self.batch.awaited_line_count

    def complaints(self) -> Iterator[str]:
        """What is wrong with how it ended."""
        batch = self.batch
        if batch is None or batch.state not in self.ends:
            yield f"{self.name}: ended as {batch and batch.state}"
            return
        if batch.state == BatchState.FAILED or (self.deletes and batch.awaited_line_count):
            return
        if len(self.answers) != len(self.lines):
            yield f"{self.name}: {len(self.answers)} results for {len(self.lines)} lines"
            return
        for number, (line, answer) in enumerate(zip(self.lines, self.answers, strict=True)):
            if answer.custom_id != line.custom_id:
                yield f"{self.name}: line {number} is answered as {answer.custom_id!r}"
            elif answer.ok and line.question not in (answer.text or ""):
                yield f"{self.name}: line {number} has another line's answer"
            elif (code := code_of(answer)) not in line.may:
                yield f"{self.name}: line {number} ({line.provider}) came to {code}"
        if self.merged:
            return
        counts = batch.request_counts
        succeeded = sum(answer.ok for answer in self.answers)
        if (counts.succeeded, counts.unsuccessful) != (succeeded, len(self.lines) - succeeded):
            yield f"{self.name}: {counts} for {succeeded} answers"

    def count(self, code: str, providers: tuple[str, ...] = QUICK) -> int:
        """Results of some code, of lines for these providers that were run for this job."""
        return sum(
            line.provider in providers and code_of(answer) == code and not answer.reused_from
            for line, answer in zip(self.lines, self.answers, strict=False)
        )


def code_of(answer: ResultLine) -> str:
    """ "ok", the error's code, or "failed" for an error that the provider answered."""
    if answer.ok:
        return "ok"
    return answer.error.code if answer.error and not answer.response else "failed"


def mixed(name: str) -> Job:
    """Every provider; some lines fail at first, one for good."""
    job = Job(name)
    for provider in ("openai", "anthropic", "gemini", "paid", "local"):
        job.ask(provider)
        job.ask(provider, "[[sandbox:flaky=1]]")
        job.ask(provider)
    job.ask("openai", "[[sandbox:error=invalid]]", frozenset({"failed"}))
    return job


def lenient(name: str) -> Job:
    """Parameters that Anthropic lacks are left out."""
    job = Job(name, options={"lenient": True})
    for _ in range(3):
        job.ask("anthropic", seed=7)
    job.ask("openai")
    return job


def choosy(name: str) -> Job:
    """What the gateway took and the dispatcher, set up otherwise, does not."""
    job = Job(name)
    job.ask("choosy", may=frozenset({"unsupported_endpoint"}))
    job.ask("openai")
    return job


def broken(name: str) -> Job:
    """Lines that cannot be read are skipped."""
    job = Job(name, options={"skip_invalid_lines": True})
    job.ask("openai")
    job.lines.append(Line("no json", frozenset({"invalid_json"})))
    job.ask("anthropic")
    job.ask("openai")
    # The same custom_id once more, found when all of the file is there.
    job.lines.append(Line(job.lines[0].text, frozenset({"duplicate_custom_id"}), "", f"{name}-0"))
    return job


def odd(name: str) -> Job:
    """Results that are lost, doubled or torn."""
    job = Job(name)
    for mark in ("lost", "duplicate", "garbage"):
        torn = mark != "duplicate"
        job.ask("openai", f"[[sandbox:{mark}]]", frozenset({"result_missing"}) if torn else OK)
        job.ask("openai")
    return job


_STOPPED = frozenset(
    {"ok", "batch_cancelled", "batch_expired", "result_missing", "submission_unclear", CULPRIT}
)


def _cancel(client: Client, job: Job, batch: Batch) -> None:
    """Stop a batch, unless a busy machine lets it end before."""
    try:
        client.cancel_batch(batch.id)
    except Conflict as error:
        if error.reason != "BATCH_ENDED":
            raise
        job.ends = DONE


def cancelled(name: str) -> Job:
    """Stopped by its owner; what has been run is kept."""

    def cancel(client: Client, batch: Batch) -> None:
        for snapshot in client.watch(batch.id, timeout=PATIENCE):
            if snapshot.request_counts.submitted or snapshot.ended:
                break
        _cancel(client, job, batch)

    job = Job(name, ends=frozenset({BatchState.CANCELLED}), meddle=cancel)
    for provider in ("slow", "slow", "slow", "local", "local"):
        job.ask(provider, may=_STOPPED)
    return job


def unplanned(name: str) -> Job:
    """Cancelled at once, mostly before anything is sent."""

    def cancel(client: Client, batch: Batch) -> None:
        _cancel(client, job, batch)

    job = Job(name, ends=frozenset({BatchState.CANCELLED}), meddle=cancel)
    for provider in ("slow", "slow", "local"):
        job.ask(provider, may=_STOPPED)
    return job


def paused(name: str) -> Job:
    """Paused while some of it runs, until that has come home; then it goes on."""

    def steer(client: Client, batch: Batch) -> None:
        for snapshot in client.watch(batch.id, timeout=PATIENCE):
            if snapshot.request_counts.submitted or snapshot.ended:
                break
        try:
            client.pause_batch(batch.id)
            wait_for(lambda: _at_rest(client.get_batch(batch.id)), f"the rest of {name}", PATIENCE)
            client.resume_batch(batch.id)
        except Conflict as error:
            if error.reason != "BATCH_ENDED":
                raise

    job = Job(name, meddle=steer)
    for provider in (*("openai", "gemini", "slow"), *("local",) * 25, *("paid",) * 12):
        job.ask(provider, may=OK | {CULPRIT} if provider == "slow" else OK)
    return job


def canary(name: str) -> Job:
    """A few lines of each model go first; those of one provider mostly fail, or none does."""
    options = {"canary_lines": 3, "canary_max_failure_rate": 0.5, "max_failure_rate": 0.9}
    job = Job(name, options=options)
    failing = sum(name.encode()) % 2
    # The slow provider names lines for which it refuses a batch, and deaths lose paid answers:
    # enough for any canary to fail.
    may = OK | {CULPRIT, "canary_failed", "failure_limit"}
    for number in range(8):
        wrong = failing and number != 4
        mark = "[[sandbox:error=invalid]]" if wrong else ""
        job.ask("openai", mark, may | {"failed"} if wrong else may)
        for provider in ("slow", "local", "paid"):
            job.ask(provider, may=may)
    return job


def _at_rest(batch: Batch) -> bool:
    """Whether nothing of a paused batch is at a provider any more."""
    held = [shard for shard in batch.shards if shard.waiting_reason.startswith("paused: ")]
    settled = [shard for shard in batch.shards if shard.state == "settled"]
    return batch.ended or len(held) + len(settled) == len(batch.shards)


def expiring(name: str) -> Job:
    """The window closes over lines that run, wait and have not been sent."""
    ends = frozenset({BatchState.EXPIRED, BatchState.COMPLETED})
    job = Job(name, options={"completion_window": timedelta(seconds=3)}, ends=ends)
    for _ in range(16):
        job.ask("slow", may=_STOPPED)
    for _ in range(40):
        job.ask("local", may=_STOPPED)
    return job


def rescued(name: str) -> Job:
    """Called line by line while it is sent, runs or comes home."""
    window = timedelta(seconds=100)
    options = {"completion_window": window, "rescue_before": window - timedelta(seconds=0.4)}
    job = Job(name, options=options)
    for _ in range(8):
        for provider in ("openai", "anthropic", "gemini"):
            # What was under way when somebody died is reported, not paid twice.
            job.ask(provider, may=OK | {"result_missing"})
    return job


def crowded(name: str) -> Job:
    """More prompt tokens than the slow provider takes at a time: cut, waiting, expiring."""
    ends = frozenset({BatchState.EXPIRED, BatchState.COMPLETED})
    job = Job(name, options={"completion_window": timedelta(seconds=6)}, ends=ends)
    for _ in range(6):
        job.ask("slow", "word " * 300, _STOPPED, model=f"slow/gpt-4.1-{name}")
    return job


def many(name: str) -> Job:
    """So many batches at one provider that they are looked at together."""
    job = Job(name)
    for number in range(6):
        # The slow provider names lines for which it refuses a batch.
        may = OK | {CULPRIT}
        job.ask("slow", may=may, model=f"slow/gpt-4.1-{name}-{number}")
    return job


def repeated(name: str) -> Job:
    """Asks some of its lines twice; asked again as a whole, nothing of it is run."""
    options = {"reuse_answers": timedelta(days=1)}

    def ask_again(client: Client, batch: Batch) -> None:
        client.wait(batch.id, timeout=PATIENCE)
        content = "".join(f"{line.text}\n" for line in job.lines).encode()
        again = client.submit(content, request_id=f"{name}-again", **options)
        again = client.wait(again.id, timeout=PATIENCE)
        assert again.reused_line_count == again.request_counts.succeeded == len(job.lines)

    job = Job(name, options=options, meddle=ask_again)
    for provider in ("openai", "anthropic"):
        job.ask(provider)
        for _ in range(2):
            job.ask(provider, question=f"question {name}")
    return job


def retried(name: str) -> Job:
    """Followed while it runs; what failed is run once more, by two callers at a time."""

    def until_all_are_answered(client: Client, batch: Batch) -> None:
        followed = [line.raw for line in client.results(batch.id, follow=True)]
        assert sorted(followed) == sorted(line.raw for line in client.results(batch.id))
        for number in range(_MOST_RETRIES):
            with ThreadPoolExecutor() as pool:
                names = (f"{name}-{number}-{caller}" for caller in range(2))
                made = [*pool.map(lambda request_id: _retry(client, batch, request_id), names)]
            children = [child for child in made if child is not None]
            if not children:
                return
            for child in children:
                client.wait(child.id, timeout=PATIENCE)

    job = Job(name, meddle=until_all_are_answered, merged=True)
    for provider in ("openai", "anthropic"):
        job.ask(provider)
        # Once more than a batch tries it.
        job.ask(provider, "[[sandbox:flaky=4]]")
    return job


def _retry(client: Client, batch: Batch, request_id: str) -> Batch | None:
    try:
        return client.retry_batch(batch.id, request_id=request_id)
    except Conflict as error:
        if error.reason != "NOTHING_TO_RETRY":
            raise
        return None


def deleted(name: str) -> Job:
    """Read once, and then deleted by its owner."""
    job = Job(name, deletes=True)
    for provider in ("openai", "anthropic", "paid", "local"):
        job.ask(provider)
        job.ask(provider, "[[sandbox:flaky=1]]")
    return job


def ghost(name: str) -> Job:
    """For a provider that the dispatcher has no key for."""
    job = Job(name, ends=frozenset({BatchState.FAILED}))
    job.ask("ghost")
    return job


KINDS: Mapping[str, Callable[[str], Job]] = {
    kind.__name__: kind
    for kind in (
        mixed,
        lenient,
        choosy,
        broken,
        odd,
        cancelled,
        unplanned,
        paused,
        canary,
        expiring,
        rescued,
        crowded,
        many,
        repeated,
        retried,
        ghost,
        deleted,
    )
}


class Abandoned(Exception):
    """Whoever uploads goes away."""


def uploads(client: Client, name: str, enough: Callable[[], bool] = lambda: True) -> None:
    """A file that is uploaded and deleted again, and some that are left half-way, until enough.

    At least one is. A gateway that dies amid one knows nothing of how it ends.
    """
    # Long enough for its line index not to fit into memory.
    lines = (
        json.dumps(
            {
                "custom_id": f"{name}-{number}",
                "provider": "openai",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "openai/gpt-4.1", "messages": [{"role": "user", "content": "x"}]},
            }
        )
        for number in range(4000)
    )
    content = "".join(f"{line}\n" for line in lines).encode()
    file = client.upload(_pieces(content), upload_id=f"upload-{name}")
    assert (file.line_count, file.invalid_line_count) == (4000, 0)
    client.files.delete(file.id)

    def half() -> Iterator[bytes]:
        # A bad line is told of while the rest comes.
        yield b'{"custom_id": "bad"}\n'
        # More than the client holds back, so that the gateway has begun to take it in.
        for _ in range(16):
            yield content
        raise Abandoned

    last = time.monotonic() + PATIENCE
    for number in count():
        with suppress(Abandoned, PolybatchError):
            client.upload(half(), upload_id=f"halfway-{name}-{number}")
        if enough() or time.monotonic() > last:
            return


def _pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 1 << 16):
        yield content[start : start + (1 << 16)]
