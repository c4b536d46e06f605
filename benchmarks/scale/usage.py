"""How much a running setup has used so far: processor seconds, transactions, messages, bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.machine import tree_seconds
from benchmarks.scale.costs import UNITS, Usage
from benchmarks.scale.setups import Setup

SERVICES = ("gateway", "dispatcher", "collector")
# What follows the end of a batch (uploads deleted, leases ended) belongs to it.
_REST = 2.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What had been used at a moment."""

    moment: float
    used: Mapping[str, float]

    def since(self, earlier: Reading, idle: Usage) -> dict[str, float]:
        """What was used since an earlier reading, without what would have been used anyway:
        `idle`, in a second."""
        seconds = self.moment - earlier.moment
        return {
            name: max(self.used[name] - earlier.used[name] - idle[name] * seconds, 0.0)
            for name in self.used
        }


NOTHING: Usage = dict.fromkeys(UNITS, 0.0)


async def read(setup: Setup) -> Reading:
    """Read all of UNITS but the result bytes, after a rest."""
    await asyncio.sleep(_REST)
    return await asyncio.to_thread(_read, setup)


def _read(setup: Setup) -> Reading:
    stands, used = setup.stands, dict(NOTHING)
    del used["result bytes"]
    for name, pid in setup.suite.pids.items():
        service = name.partition("-")[0]
        if service in SERVICES:
            used[service] += tree_seconds(pid)
    servers = {
        "postgresql": [stands.postgres.process],
        "nats": [node.process for node in stands.cluster.nodes],
        "object storage": [stands.storage.process] if stands.storage else [],
    }
    for name, processes in servers.items():
        used[name] = sum(tree_seconds(each.pid) for each in processes if each.pid is not None)
    database = urlsplit(setup.environment["POLYBATCH_DATABASE_URL"]).path.strip("/")
    # Each transaction that writes takes one number: exact at once, unlike the statistics.
    counts = stands.postgres.execute(
        "SELECT pg_snapshot_xmax(pg_current_snapshot()), "
        "pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')",
        database,
    )
    names = ("ledger transactions", "ledger log bytes")
    used.update(zip(names, map(float, counts.split("|")), strict=True))
    received = [node.received() for node in stands.cluster.nodes]
    used["bus messages"] = sum(messages for messages, _ in received)
    used["bus bytes"] = sum(size for _, size in received)
    used["object bytes"] = _stored(setup)
    return Reading(time.monotonic(), used)


def _stored(setup: Setup) -> float:
    blobs = urlsplit(setup.environment["POLYBATCH_BLOBS_URL"])
    storage = setup.stands.storage
    folder = Path(blobs.path) if storage is None else storage.bucket_folder(blobs.netloc)
    return float(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
