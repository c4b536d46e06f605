"""The program of clients/node, as a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[3] / "clients" / "node"


def run_node(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run it to its end. Without Node.js or its packages the test is skipped, or fails on CI."""
    node = shutil.which("node")
    if node is None or not (_FOLDER / "node_modules/@grpc/grpc-js").is_dir():
        missing = "Node.js is missing" if node is None else "run make node-client first"
        if os.environ.get("CI"):
            pytest.fail(f"{missing} (CI must have it)", pytrace=False)
        pytest.skip(missing)
    return subprocess.run(
        [node, str(_FOLDER / "submit.mjs"), *arguments],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
