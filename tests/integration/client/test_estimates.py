"""What a batch will cost, in both clients and in the command; and the question of `submit`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from polybatch import Batch, BatchEstimate, InvalidRequest
from polybatch.cli.describe import describe_late
from polybatch.cli.exit_codes import ExitCode
from polybatch.cli.output import about_usd
from polybatch.v1 import files_pb2

from tests.integration.client.conftest import Api
from tests.integration.client.test_terminal import Screen
from tests.support.client.batches import snapshot
from tests.support.client.command import GOOD, Command
from tests.support.client.estimates import estimate
from tests.support.client.fake_service import FakePolybatch
from tests.support.forked.python import python

BATCH = f"batch_{0:020}"
FILE = f"file_{0:020}"


async def test_an_estimate_is_in_decimals(api: Api, fake: FakePolybatch) -> None:
    fake.estimate = estimate(("gpt-9", "1.000000001", "2"), ("gpt-4.1", "0.25", "4"), unlimited=3)
    file = await api.call("upload", GOOD)
    found = await api.call("estimate", file, lenient=True)
    assert isinstance(found, BatchEstimate)
    assert (found.input_file_id, found.line_count) == (FILE, 100)
    assert found.total.expected == Decimal("1.250000001")
    assert (found.total.at_most, found.total.output_tokens_at_most) == (None, None)
    assert found.models[1].range.at_most == 4
    assert found.unlimited_line_count == 3
    assert fake.calls[-1][1].lenient_translation


async def test_a_batch_is_made_once_its_cost_was_told(api: Api, fake: FakePolybatch) -> None:
    told = []
    options: dict[str, Any] = {"max_cost": "1.50", "key_id": "key_1", "on_estimate": told.append}
    batch = await api.call("submit", GOOD, **options)
    assert told[0].input_file_id == batch.input_file_id
    assert [name for name, _ in fake.calls] == ["UploadFile", "EstimateBatch", "CreateBatch"]
    order = fake.calls[-1][1]
    assert (order.max_cost.units, order.max_cost.nanos) == (1, 500_000_000)
    assert (order.max_cost.currency_code, order.key_id) == ("USD", "key_1")

    def refuse(_found: BatchEstimate) -> None:
        raise RuntimeError("too dear")

    with pytest.raises(RuntimeError, match="too dear"):
        await api.call("submit", GOOD, on_estimate=refuse)
    assert fake.count("CreateBatch") == 1


@pytest.mark.parametrize("amount", [0.1, "-1", "1.0000000001", "NaN", "much"])
async def test_an_amount_has_to_be_exact(api: Api, fake: FakePolybatch, amount: Any) -> None:
    with pytest.raises(InvalidRequest, match="max_cost"):
        await api.call("create_batch", FILE, max_cost=amount)
    assert not fake.calls


def test_the_command_tells_what_each_model_will_cost(command: Command, fake: FakePolybatch) -> None:
    fake.estimate = estimate(("openai/gpt-5", "12.345", "80"), ("gpt-4.1", "0.0312", "1.25"))
    done = command.run("estimate", "good.jsonl")
    assert done.returncode == 0
    assert [" ".join(row.split()) for row in done.stdout.splitlines()] == [
        "MODEL RUN LINES PROMPT OUTPUT EXPECTED AT MOST REAL TIME",
        "openai/gpt-5 batch 50 1,000 500 12.35 80.00 24.69",
        "openai/gpt-4.1 batch 50 1,000 500 0.032 1.25 0.063",
        "all 100 2,000 1,000 12.38 81.25 24.76",
    ]
    assert "3.0 bytes of text a token" in done.stderr
    assert not fake.files
    # A stored file is not uploaded, nor deleted.
    fake.files[FILE] = files_pb2.File(id=FILE, line_count=100)
    uploads = fake.count("UploadFile")
    document = json.loads(command.run("estimate", FILE, "--json").stdout)
    assert document["total"]["expected"] == 12.3762
    assert document["models"][0]["range"]["output_tokens_at_most"] == 0
    assert (fake.count("UploadFile"), FILE in fake.files) == (uploads, True)


def test_what_is_not_known_is_said(command: Command, fake: FakePolybatch) -> None:
    fake.estimate = estimate(("gpt-9", "0", "0"), ("gpt-4.1", "0.03", "1"), unpriced="no price yet")
    done = command.run("estimate", "good.jsonl")
    assert done.stdout.splitlines()[1].split()[-2:] == ["unknown", "unknown"]
    assert "no price yet" in done.stderr
    fake.estimate = estimate(("gpt-4.1", "0.03", "1"), unlimited=7)
    done = command.run("estimate", "good.jsonl")
    assert "no limit" in done.stdout
    assert "7 lines without a limit" in done.stderr
    done = command.run("estimate", "bad.jsonl")
    assert done.returncode == ExitCode.BAD_INPUT
    assert "bad.jsonl: 2 lines cannot be sent: " in done.stderr


def test_a_rescue_of_all_lines_is_priced(command: Command, fake: FakePolybatch) -> None:
    fake.estimate = estimate(("gpt-4.1", "0.25", "1"), ("m", "0.03", "1"), rescuable=1)
    done = command.run("estimate", "good.jsonl", "--rescue-before", "2h")
    assert (
        "rescue: calling 50 lines one by one would add about 0.25 USD, at most 1.00; 50 lines "
        "cannot be rescued, or need no rescue\n"
    ) in done.stderr
    done = command.run("submit", "good.jsonl", "--no-watch", "--rescue-before", "2h")
    assert "rescue: calling 50 lines one by one" in done.stderr
    (order,) = (request for name, request in fake.calls if name == "CreateBatch")
    assert order.rescue_before.seconds == 7200
    uploads = fake.count("UploadFile")
    done = command.run("submit", "good.jsonl", "--rescue-before", "2h", "--window", "2h")
    assert done.returncode == ExitCode.BAD_INPUT
    assert "--rescue-before is no shorter than the completion window" in done.stderr
    assert fake.count("UploadFile") == uploads
    fake.estimate = estimate(("m", "0.03", "1"))
    done = command.run("estimate", "good.jsonl", "--rescue-before", "2h")
    assert "no line can be called by itself" in done.stderr
    assert "rescue" not in command.run("estimate", "good.jsonl").stderr


async def test_a_rescue_is_asked_for_and_shown(api: Api, fake: FakePolybatch) -> None:
    fake.estimate = estimate(("gpt-9", "1.5", "2"), ("gpt-4.1", "0.25", "4"), rescuable=2)
    found = await api.call("estimate", await api.call("upload", GOOD))
    assert (found.rescue_expected, found.rescue_at_most) == (Decimal("1.75"), 6)
    batch = await api.call("create_batch", FILE, rescue_before=timedelta(hours=2))
    assert fake.calls[-1][1].rescue_before.ToTimedelta() == timedelta(hours=2)
    assert (batch.rescue_before, batch.rescued_line_count) == (None, 0)
    message = snapshot(BATCH, 2)
    message.rescue_before.FromTimedelta(timedelta(hours=2))
    message.rescued_line_count = 7
    shown = Batch.from_proto(message)
    assert (shown.rescue_before, shown.rescued_line_count) == (timedelta(hours=2), 7)
    assert describe_late(shown) == [
        "7 lines were called one by one, at the real-time price, before the window closed"
    ]


def test_submit_tells_the_cost_and_asks_nobody_in_a_script(
    command: Command, fake: FakePolybatch
) -> None:
    words = ("submit", "good.jsonl", "--no-watch")
    done = command.run(*words, "--confirm-above", "0.0312", "--max-cost", "5")
    assert (done.returncode, done.stdout) == (0, f"{BATCH}\n")
    assert "cost: about 0.032 USD, at most 1.25, in real time about 0.063\n" in done.stderr
    assert fake.count("UploadFile") == 1
    files = len(fake.files)

    done = command.run(*words, "--confirm-above", "0.0311")
    assert (done.returncode, done.stdout) == (ExitCode.NOT_CONFIRMED, "")
    assert "about 0.032 USD, and --confirm-above is 0.0311 USD" in done.stderr
    assert "--yes" in done.stderr
    # By a setting, in JSON, and from a pipe.
    command.environment["POLYBATCH_CONFIRM_ABOVE"] = "0.01"
    done = command.run(*words, "--json")
    assert (done.returncode, done.stdout) == (ExitCode.NOT_CONFIRMED, "")
    assert json.loads(done.stderr.splitlines()[-1])["error"]["reason"] == "NOT_CONFIRMED"
    assert (len(fake.files), fake.count("CreateBatch")) == (files, 1)
    done = command.run(*words, "--keep-file")
    assert f"the file is kept as file_{len(fake.uploads) - 1:020}" in done.stderr
    assert command.run(*words, "--yes").returncode == 0
    fake.estimate = estimate(("gpt-9", "0", "0"), unpriced="no price yet")
    done = command.run(*words)
    assert done.returncode == ExitCode.NOT_CONFIRMED
    assert "its cost is not known" in done.stderr


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("", 5), ("no", 5), ("\x03", 130)])
def test_submit_asks_at_a_terminal(
    command: Command, fake: FakePolybatch, answer: str, code: int
) -> None:
    screen = Screen(80)
    fake.on_submit = lambda batch: fake.batches[batch.id].append(
        snapshot(batch.id, 2, "COMPLETED", succeeded=100)
    )
    submit = python("-m", "polybatch", "submit", "good.jsonl", "--confirm-above", "0.01")
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _TAKE_TERMINAL, *submit],
        cwd=command.folder,
        env=command.environment | {"TERM": "xterm-256color"},
        stdin=screen.slave,
        stdout=subprocess.PIPE,
        stderr=screen.slave,
    ) as process:
        screen.wait_for("Run it? [y/N] ")
        assert not fake.batches
        if answer == "\x03":
            # One that comes just before the prompt is read is lost, in any Python program.
            while process.poll() is None:
                os.write(screen.master, answer.encode())
                with suppress(subprocess.TimeoutExpired):
                    process.wait(1)
        else:
            os.write(screen.master, answer.encode() + b"\n")
        assert process.wait(20) == code
    screen.finish()
    assert len(fake.batches) == (code == 0)
    assert len(fake.files) == (code == 0)
    lines = screen.lines()
    assert any(line.startswith("cost: about 0.032 USD") for line in lines)
    if code:
        assert any("no batch was made" in line for line in lines)


# In a program of its own: a fork of this process, where gRPC has threads, may hang.
_TAKE_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("usd", "text"),
    [("0", "0.00"), ("0.000000001", "0.000000001"), ("0.00123", "0.0013"), ("0.3", "0.30"),
     ("1.001", "1.01"), ("12345.678", "12,345.68")],
)  # fmt: skip
def test_amounts_are_rounded_up(usd: str, text: str) -> None:
    assert about_usd(Decimal(usd)) == text


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("openai/gpt-99", "openai/gpt-99"),
        ("gpt-99", "openai/gpt-99"),
        ("maker/gpt-99", "openai/maker/gpt-99"),
    ],
)
def test_a_model_without_a_price_is_named_as_files_name_it(
    command: Command, fake: FakePolybatch, model: str, shown: str
) -> None:
    fake.estimate = estimate((model, "0", "0"), unpriced="no price yet")
    done = command.run("submit", "good.jsonl", "--no-watch")
    assert f"cost: not known, as {shown} has no price\n" in done.stderr


def test_several_models_without_a_price(command: Command, fake: FakePolybatch) -> None:
    models = [(f"openai/gpt-9{digit}", "0", "0") for digit in "789"]
    fake.estimate = estimate(*models, unpriced="no price yet")
    for model in fake.estimate.models:
        model.unpriced = "no price yet"
    done = command.run("submit", "good.jsonl", "--no-watch")
    assert "cost: not known, as openai/gpt-97 and 2 more have no price\n" in done.stderr
