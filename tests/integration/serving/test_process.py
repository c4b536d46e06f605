"""The main of a process, in real processes: signals, exit codes, and what the log holds."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import pytest

from tests.support.forked.python import python

PROGRAM = """
import asyncio, logging, os, signal, sys
import structlog, uvloop
from core.serving import StartupError, run

log = structlog.get_logger()

async def graceful(stop):
    assert type(asyncio.get_running_loop()) is uvloop.Loop
    print("ready", flush=True)
    await stop.wait()
    print("cleaned up", flush=True)

async def stubborn(stop):
    print("ready", flush=True)
    await stop.wait()
    print("deaf", flush=True)
    await asyncio.Event().wait()

async def misconfigured(stop):
    raise StartupError("the port 50051 is taken")

async def dying(stop):
    os.kill(os.getpid(), signal.SIGSEGV)

async def crashing(stop):
    secret = "sk-local-variable"
    raise RuntimeError("boom")

async def quoting(stop):
    quoted = "nats://user:pass@host, sk-of-the-environment, Bearer abc.def"
    log.info("said", cause=quoted)
    logging.getLogger("library").warning("it said %s", quoted)
    raise RuntimeError(quoted)

async def talking(stop):
    log.info("said", batch_id="batch_1", body="a prompt", authorization="Bearer k", api_key="k")
    logging.getLogger("library").warning("careful")
    logging.getLogger("library").info("chatter")

sys.exit(run(globals()[sys.argv[1]], service="test", log_format=sys.argv[2]))
"""


async def start(main: str, log_format: str = "json") -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *python("-c", PROGRAM, main, log_format, imported=("core.serving", "uvloop")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()


async def end(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    _, stderr = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode, stderr.decode()


def events(stderr: str) -> list[dict[str, Any]]:
    return [json.loads(each) for each in stderr.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_gracefully(number: signal.Signals) -> None:
    process = await start("graceful")
    assert await line(process) == "ready"
    process.send_signal(number)
    assert await line(process) == "cleaned up"
    code, stderr = await end(process)
    assert code == 0
    assert [event["event"] for event in events(stderr)] == ["stopping"]


async def test_a_second_signal_ends_it_at_once() -> None:
    process = await start("stubborn")
    assert await line(process) == "ready"
    process.send_signal(signal.SIGTERM)
    assert await line(process) == "deaf"
    process.send_signal(signal.SIGTERM)
    code, _ = await end(process)
    assert code == -signal.SIGTERM


async def test_a_startup_error_is_one_clear_line() -> None:
    code, stderr = await end(await start("misconfigured"))
    assert code == 1
    (event,) = events(stderr)
    assert event["event"] == "startup_failed"
    assert event["cause"] == "the port 50051 is taken"
    assert event["service"] == "test"


async def test_what_c_code_dies_of_is_in_the_log() -> None:
    code, stderr = await end(await start("dying"))
    assert code == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in stderr
    assert "in dying" in stderr


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_a_crash_leaves_a_traceback_without_local_variables(log_format: str) -> None:
    code, stderr = await end(await start("crashing", log_format))
    assert code == 1
    assert "RuntimeError: boom" in stderr
    assert "sk-local-variable" not in stderr.replace('secret = "sk-local-variable"', "")


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_bodies_and_keys_do_not_get_into_the_log(log_format: str) -> None:
    code, stderr = await end(await start("talking", log_format))
    assert code == 0
    assert "batch_1" in stderr
    assert "a prompt" not in stderr
    assert "Bearer k" not in stderr
    assert "careful" in stderr
    assert "chatter" not in stderr


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_secrets_in_the_texts_of_others_do_not_pass(
    log_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-of-the-environment")
    code, stderr = await end(await start("quoting", log_format))
    assert code == 1
    for secret in ("pass@", "sk-of-the-environment", "abc.def"):
        assert secret not in stderr
    # Three lines: our own, a library's, and the traceback's.
    assert stderr.count("nats://[removed]@host, [removed], Bearer [removed]") == 3
