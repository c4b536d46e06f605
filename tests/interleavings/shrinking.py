"""The shortest schedule found that fails like a given one."""

from __future__ import annotations

from tests.interleavings.running import Run, Runner

_MOST_RUNS = 300


def shrunk(runner: Runner, failed: Run) -> Run:
    """With as many of its choices as can be left to the ordinary course of things."""
    best, left = failed, _MOST_RUNS

    def better(choices: list[int]) -> bool:
        nonlocal best, left
        left -= 1
        tried = runner.run(failed.seed, choices)
        if tried.kinds & failed.kinds:
            best = tried
            return True
        return False

    # How many of its choices it needs: what comes after these is calm.
    kept = [*failed.choices]
    step = len(kept) // 2
    while step and left:
        if len(kept) > step and better(kept[:-step]):
            kept = kept[:-step]
        else:
            step //= 2
    # And which of these.
    for number in reversed(range(len(kept))):
        if kept[number] and left > 0:
            tried = [*kept[:number], 0, *kept[number + 1 :]]
            if better(tried):
                kept = tried
    return best
