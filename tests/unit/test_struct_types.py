"""No thread may find msgspec's description of a type half made."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# As threads that read the first prices of a process at the same time.
CONVERT = """
import sys, threading
from core.prices.price_file import parse_price_file
sys.setswitchinterval(1e-6)
text = '[[price]]\\nprovider = "a"\\nmodel = "b"\\ninput = 1.0\\n[markup]\\ndefault = 1.5\\n'
start = threading.Barrier(8)
def read():
    start.wait()
    parse_price_file(text, "prices.toml")
threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.long
def test_threads_may_be_the_first_to_convert() -> None:
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", CONVERT], cwd=ROOT, check=False)
        assert done.returncode == 0


def test_whatever_is_converted_to_by_its_type_is_prepared() -> None:
    """A module that leaves taking the type apart to the first use has to do it at import."""
    lazy = re.compile(r"msgspec\.convert\(|json\.decode\([^)\n]*\btype=(?!msgspec\.Raw)")
    found = [
        path.relative_to(ROOT)
        for path in (ROOT / "core").rglob("*.py")
        if lazy.search(text := path.read_text()) and "import prepared" not in text
    ]
    assert found == []
