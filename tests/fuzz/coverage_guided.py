"""Coverage-guided fuzzing of the line scanner and the result lines' readers, by atheris.

    python -m tests.fuzz.coverage_guided scanner -max_total_time=60

Arguments behind the name are libFuzzer's. A finding ends it and stays in a crash-* file.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["core.batchfile", "core.providers", "core.json_depth"]):
    from core.batchfile import LineScanner, Rules
    from tests.fuzz.reference import PROVIDERS
    from tests.fuzz.test_result_lines import READERS, check_result
    from tests.fuzz.test_scanner import EMBEDDING, LINE


def scanner(data: bytes) -> None:
    """Any bytes, cut in two ways, give the same findings."""
    found = []
    for size in (len(data) or 1, 7):
        lines = LineScanner(Rules(PROVIDERS), max_line_bytes=300, max_lines=10_000, max_depth=10)
        index, problems = b"", []
        for start in range(0, len(data), size):
            for scanned in lines.feed(data[start : start + size]):
                index += scanned.index
                problems += scanned.problems
        last, summary = lines.finish()
        found.append((index + last.index, problems + last.problems, summary))
    assert found[0] == found[1]


def results(data: bytes) -> None:
    """Any line is a result in the documented form, or unreadable, to every reader."""
    for read, _ in READERS.values():
        check_result(data, read)


TARGETS: dict[str, Callable[[bytes], None]] = {"scanner": scanner, "results": results}


TEMPLATES = [template for _, template in READERS.values()]
TEMPLATES += [LINE, EMBEDDING]


def main() -> None:
    name = sys.argv.pop(1)
    with tempfile.TemporaryDirectory(prefix="polybatch-corpus-") as corpus:
        # Right ones to begin with: from nothing it would not come to JSON in years.
        for number, template in enumerate(TEMPLATES):
            (Path(corpus) / str(number)).write_text(json.dumps(template, separators=(",", ":")))
        atheris.Setup([*sys.argv, corpus], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
