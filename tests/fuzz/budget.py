"""How many examples a property test here tries: few in `make test`, many in `make fuzz`."""

from __future__ import annotations

import os

FACTOR = int(os.environ.get("POLYBATCH_FUZZ_FACTOR") or 1)


def examples(count: int) -> int:
    """So many in `make test`."""
    return count * FACTOR
