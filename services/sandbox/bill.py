"""What the sandbox would charge: every line that it ran, and which were run twice.

The content digests of billed lines go to a file, eight bytes each, and what each has used to
another. The digests are only compared when somebody asks for the bill: an SQLite table on disk
counts them, so memory stays constant however many there are.
"""

from __future__ import annotations

import asyncio
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from services.sandbox.batch import Batch
from services.sandbox.kinds import Provider
from services.sandbox.plan import Totals, packed, used_by
from services.sandbox.traffic import Traffic

_READ_DIGESTS = 65536


class Account:
    """Sums of one provider."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.batches = 0
        self.asked = 0
        self.called = 0
        """Of the lines billed, single calls: their price is that of real time."""
        self.models: dict[str, Totals] = {}


@dataclass(slots=True)
class Calls:
    """Single calls."""

    begun: int = 0
    refused: int = 0
    most_at_once: int = 0


@dataclass(slots=True)
class _Group:
    """Lines that are billed one after another, to one provider."""

    provider: Provider
    models: Sequence[str]
    lines: int
    real_time: bool


class Bill:
    """Counts over all workspaces since the start or the last reset."""

    def __init__(self, folder: Path) -> None:
        self._log_path = folder / "billed.digests"
        self._used_path = folder / "billed.used"
        self._table_path = folder / "billed.sqlite"
        self._counting = asyncio.Lock()
        self._accounts: dict[Provider, Account] = {}
        self.reset({})

    def reset(self, files: Mapping[Provider, Iterable[str]]) -> None:
        """Begin anew; `files`: those that are forgotten with it."""
        taken: dict[Provider, set[str]] = {
            name: account.traffic.taken(files.get(name, ()))
            for name, account in self._accounts.items()
        }
        for name in get_args(Provider):
            self._accounts[name] = Account(Traffic(taken.get(name, ())))
        self._calls = Calls()
        self._called: dict[Provider, list[str]] = {}
        self._groups: list[_Group] = []
        self._log_path.write_bytes(b"")
        self._used_path.write_bytes(b"")
        self._table_path.unlink(missing_ok=True)
        self._counted = 0

    def traffic(self, provider: Provider) -> Traffic:
        """The calls to a provider; of another object after a reset."""
        return self._accounts[provider].traffic

    def created(self, batch: Batch) -> None:
        """A batch has been created."""
        self._accounts[batch.provider].batches += 1

    def call_refused(self) -> None:
        """A single call was too many."""
        self._calls.refused += 1

    def call_begun(self, provider: Provider, under_way: int) -> None:
        """A single call begins; so many are under way to its provider now."""
        self._calls.begun += 1
        self._calls.most_at_once = max(self._calls.most_at_once, under_way)
        self._accounts[provider].asked += 1

    def call_ended(
        self, provider: Provider, model: str, input_tokens: int, output_tokens: int, digest: int
    ) -> None:
        """A single call was run and went well: bill it, at the price of real time."""
        called = self._called.setdefault(provider, [])
        if model not in called:
            called.append(model)
        used = packed(called.index(model), input_tokens, output_tokens)
        self._log(provider, called, array("Q", (digest,)), array("Q", (used,)), real_time=True)
        account = self._accounts[provider]
        account.called += 1
        account.models.setdefault(model, Totals()).add(Totals(1, input_tokens, output_tokens))

    def ended(self, batch: Batch) -> None:
        """A batch has come to its end: bill the lines that were run and went well.

        Sets the batch's token sums.
        """
        plan = batch.plan
        if plan is None or not batch.started:
            return
        account = self._accounts[batch.provider]
        account.asked += batch.total
        account.traffic.billed(batch.id, batch.answers_kept)
        for digests, used in plan.billed(batch.executed):
            # Before the files, for which a full disk may have no room.
            for model, totals in plan.sums(used).items():
                account.models.setdefault(model, Totals()).add(totals)
                batch.input_tokens += totals.input_tokens
                batch.output_tokens += totals.output_tokens
            self._log(batch.provider, plan.models, digests, used)

    def _log(
        self,
        provider: Provider,
        models: Sequence[str],
        digests: array[int],
        used: array[int],
        *,
        real_time: bool = False,
    ) -> None:
        with self._log_path.open("ab") as log, self._used_path.open("ab") as usages:
            digests.tofile(log)
            used.tofile(usages)
        last = self._groups[-1] if self._groups else None
        if last is not None and last.models is models:
            last.lines += len(used)
        else:
            self._groups.append(_Group(provider, models, len(used), real_time))

    def lines(self) -> Iterator[dict[str, Any]]:
        """What each billed line has used, in the order in which they were billed."""
        with self._used_path.open("rb") as file:
            for group in self._groups:
                left = group.lines
                while left:
                    words = array("Q")
                    words.fromfile(file, min(left, _READ_DIGESTS))
                    left -= len(words)
                    for model, input_tokens, output_tokens in map(used_by, words):
                        yield {
                            "provider": group.provider,
                            "model": group.models[model],
                            "processing": "real_time" if group.real_time else "batch",
                            "input_tokens": input_tokens,
                            "output_tokens": output_tokens,
                        }

    async def report(
        self, batches: Iterable[Batch], uploads: Mapping[Provider, int]
    ) -> dict[str, Any]:
        """The answer of GET /sandbox/bill.

        `batches`: all there are; `uploads`: how many uploaded files are still kept.
        """
        async with self._counting:
            twice, extra = await asyncio.to_thread(self._repeated)
        running: Counter[Provider] = Counter()
        for batch in batches:
            if not batch.ended:
                running[batch.provider] += batch.executed
        providers = {
            name: {
                "batches_created": account.batches,
                "lines_asked": account.asked,
                "lines_running": running[name],
                "uploads_kept": uploads.get(name, 0),
                "lines_billed": sum(t.lines for t in account.models.values()),
                "calls_billed": account.called,
                **account.traffic.report(),
                "models": {
                    model: {
                        "lines_billed": totals.lines,
                        "input_tokens": totals.input_tokens,
                        "output_tokens": totals.output_tokens,
                    }
                    for model, totals in sorted(account.models.items())
                },
            }
            for name, account in self._accounts.items()
        }
        traffics = [account.traffic for account in self._accounts.values()]
        return {
            "batches_created": sum(a.batches for a in self._accounts.values()),
            "lines_running": running.total(),
            "uploads_kept": sum(uploads.values()),
            "lines_asked": sum(a.asked for a in self._accounts.values()),
            "lines_billed": sum(
                t.lines for a in self._accounts.values() for t in a.models.values()
            ),
            "distinct_lines_billed_more_than_once": twice,
            "extra_billings": extra,
            "calls": asdict(self._calls),
            "uploads": sum(t.uploads for t in traffics),
            "uploads_deleted": sum(t.uploads_deleted for t in traffics),
            "deleted_twice": sum(t.deleted_twice for t in traffics),
            "calls_before_retry_after": sum(t.early for t in traffics),
            "calls_crossing_retry_after": sum(t.crossed for t in traffics),
            "answers_never_fetched": sum(t.never_fetched for t in traffics),
            "providers": providers,
        }

    def _repeated(self) -> tuple[int, int]:
        """(distinct lines billed more than once, billings beyond the first of each)."""
        with sqlite3.connect(self._table_path, isolation_level=None) as table:
            table.execute("PRAGMA journal_mode = OFF")
            table.execute("PRAGMA synchronous = OFF")
            table.execute(
                "CREATE TABLE IF NOT EXISTS billed (digest INTEGER PRIMARY KEY, times INTEGER)"
            )
            with self._log_path.open("rb") as log:
                log.seek(self._counted * 8)
                while data := log.read(_READ_DIGESTS * 8):
                    digests = array("q")
                    digests.frombytes(data)
                    table.execute("BEGIN")
                    table.executemany(
                        "INSERT INTO billed VALUES (?, 1) "
                        "ON CONFLICT (digest) DO UPDATE SET times = times + 1",
                        zip(sorted(digests)),
                    )
                    table.execute("COMMIT")
                    self._counted += len(digests)
            twice, extra = table.execute(
                "SELECT count(*), coalesce(sum(times - 1), 0) FROM billed WHERE times > 1"
            ).fetchone()
        table.close()
        return twice, extra
