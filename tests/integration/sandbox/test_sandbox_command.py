"""The sandbox as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import httpx2
import pytest

from tests.support.forked.python import python
from tests.support.sandbox.driving import PATIENCE

COMMAND = ("-m", "services.sandbox")
IMPORTED = ("services.sandbox.server",)
ROOT = Path(__file__).parents[3]


def run(*options: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        python(*COMMAND, *options, imported=IMPORTED),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **env},
        timeout=PATIENCE,
        check=False,
    )


def test_serves_until_terminated(tmp_path: Path) -> None:
    options = ["--data-dir", str(tmp_path / "data"), "--speed", "demo", "--batch-seconds", "3"]
    fault = ["--fault", '{"kind": "status", "status": 500, "path": "/nowhere"}']
    env = {
        "POLYBATCH_SANDBOX_LISTEN": "127.0.0.1:0",
        "POLYBATCH_SANDBOX_SHUFFLE": "false",
        "POLYBATCH_SANDBOX_BATCH_SECONDS": "9",
    }
    with subprocess.Popen(
        python(*COMMAND, *options, *fault, imported=IMPORTED),
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **env},
    ) as process:
        assert process.stderr is not None
        ready = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", ready)
        assert found, ready + process.stderr.read()
        with httpx2.Client(base_url=found.group(), timeout=PATIENCE) as http:
            assert http.get("/healthz").text == "ok\n"
            config = http.get("/sandbox/config").json()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""
    assert config["batch_seconds"] == 3
    assert config["validation_seconds"] == 1
    assert config["shuffle"] is False
    assert config["faults"][0]["path"] == "/nowhere"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["sandbox-contents"]


def test_the_temporary_folder_is_removed(tmp_path: Path) -> None:
    env = {"POLYBATCH_SANDBOX_LISTEN": "127.0.0.1:0", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        python(*COMMAND, imported=IMPORTED),
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **env},
    ) as process:
        assert process.stderr is not None
        assert str(tmp_path) in process.stderr.readline()
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    assert list(tmp_path.iterdir()) == []


def test_help_teaches() -> None:
    text = run("--help").stdout
    for topic in ("OPENAI_BASE_URL", "--batch-seconds", "/sandbox/bill", "reset_after", "flaky"):
        assert topic in text


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--listen", "nowhere"], "HOST:PORT"),
        (["--batch-seconds", "-1"], "batch_seconds"),
        (["--shuffle", "perhaps"], "shuffle"),
        (["--fault", "{"], "fault"),
        (["--fault", '{"kind": "x"}'], "faults[0].kind"),
    ],
)
def test_wrong_options_are_refused(options: list[str], complaint: str) -> None:
    done = run(*options)
    assert done.returncode == 2
    assert complaint in done.stderr
