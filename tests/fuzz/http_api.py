"""Schemathesis over the HTTP API's own description, in front of a running suite with its sandbox.

Whatever is sent: an answer that the description names, in the form that it names; never a 500,
nothing without a key, and what is wrong by the description is refused.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.e2e.suite import running_suite

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
    "use_after_free",
)


def installed() -> bool:
    """Whether `make fuzz` has installed it."""
    return importlib.util.find_spec("schemathesis") is not None


def main(seconds: int, seed: int | None) -> int:
    """One run; returns its exit code: 1 where it found something."""
    with (
        tempfile.TemporaryDirectory(prefix="polybatch-fuzz-http-") as folder,
        running_suite(Path(folder), POLYBATCH_WEB_LISTEN="127.0.0.1:0") as suite,
    ):
        key = Path(suite.ready["api_key_file"]).read_text().strip()
        # Not as a module's own command: it would read the options of pytest's plug-in.
        command = [sys.executable, "-m", "schemathesis.cli", "run"]
        command += [
            f"{suite.ready['web']}/openapi.json",
            "--header",
            f"Authorization: Bearer {key}",
        ]
        command += ["--checks", ",".join(CHECKS), "--max-time", str(seconds)]
        command += ["--generation-database", "none", "--request-timeout", "60", "--warnings", "off"]
        command += ["--suppress-health-check", "all", "--continue-on-failure"]
        if seed is not None:
            command += ["--seed", str(seed)]
        # It keeps what it has found where it is started.
        return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
