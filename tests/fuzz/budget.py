"""How many examples a property test here tries.

Few in `make test`, all in `make test-long`, a multiple of them in `make fuzz`.
"""

from __future__ import annotations

import os

FACTOR = float(os.environ.get("POLYBATCH_FUZZ_FACTOR") or 0.25)
"""POLYBATCH_FUZZ_FACTOR, which `make test-long` and `make fuzz` set."""


def examples(count: int) -> int:
    """So many of `count`, which `make test-long` tries."""
    return max(1, round(count * FACTOR))
