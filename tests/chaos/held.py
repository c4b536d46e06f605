"""What the services' processes hold: memory and open files, and whether it grows."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.chaos.cluster import Cluster

MIB = 1 << 20
MEMORY_GROWTH = 0.15
MEMORY_SLACK = 16 * MIB
"""Memory of the last quarter may lie so much above that of the first: noise of large batches."""
FILES_SLACK = 10
_LEAST_SAMPLES = 12


@dataclass(frozen=True)
class Sample:
    """One look at one process."""

    at: float
    memory: int
    """Resident, bytes."""
    files: int


class Held:
    """Samples of every service's process since it began to run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._samples: dict[tuple[str, int], list[Sample]] = defaultdict(list)

    def sample(self) -> None:
        """Look at each process once, a second apart at least."""
        now = time.monotonic()
        for replica in self._cluster.replicas:
            pid = replica.pid
            if pid is None:
                continue
            taken = self._samples[replica.name, pid]
            if not taken or now >= taken[-1].at + 1:
                try:
                    taken.append(Sample(now, _memory(pid), len(os.listdir(f"/proc/{pid}/fd"))))
                except FileNotFoundError:
                    # It has just died.
                    continue

    def judge(self) -> list[str]:
        """Each process that grew, and each service that was not seen for long enough."""
        complaints = []
        for name, first, last in self._compared():
            if last.memory > first.memory * (1 + MEMORY_GROWTH) + MEMORY_SLACK:
                complaints.append(f"{name}: memory grew, {_said(first)} to {_said(last)}")
            if last.files > first.files + FILES_SLACK:
                complaints.append(f"{name}: open files grew, {_said(first)} to {_said(last)}")
        seen = {name for name, _, _ in self._compared()}
        unseen = {replica.name for replica in self._cluster.replicas} - seen
        return complaints + [f"{name}: not seen for long enough" for name in sorted(unseen)]

    def table(self) -> str:
        """What was judged, and the bound."""
        rows = [
            f"{name:14} {_said(first):24} -> {_said(last)}"
            for name, first, last in self._compared()
        ]
        bound = (
            f"bound: {MEMORY_GROWTH:.0%} and {MEMORY_SLACK // MIB} MiB of memory, "
            f"{FILES_SLACK} open files, from the first to the last quarter of the calm"
        )
        return "\n".join([*rows, bound])

    def _compared(self) -> list[tuple[str, Sample, Sample]]:
        """Medians of the first and the last quarter of each process that was seen for long."""
        found = []
        for (name, _), taken in sorted(self._samples.items()):
            quarter = len(taken) // 4
            if len(taken) >= _LEAST_SAMPLES:
                found.append((name, _middle(taken[:quarter]), _middle(taken[-quarter:])))
        return found


def _middle(samples: list[Sample]) -> Sample:
    return Sample(
        samples[0].at,
        round(median(sample.memory for sample in samples)),
        round(median(sample.files for sample in samples)),
    )


def _said(sample: Sample) -> str:
    return f"{sample.memory / MIB:.0f} MiB, {sample.files} files"


def _memory(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
