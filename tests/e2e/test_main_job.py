"""The main job: files in, results out, over real processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from openai import OpenAI
from polybatch import BatchState, InvalidLines, NotFound, ResultFilter, ResultLine

from tests.support.e2e.inputs import chat, check_answers, write
from tests.support.e2e.stories import check_bill, check_costs
from tests.support.e2e.suite import ROOT, Suite, wait_for
from tests.support.webhooks.verifying import receiving


def test_mixed_chat_by_the_command_line(suite: Suite, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    done = suite.cli("submit", "examples/chat-mixed.jsonl", "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert "Completed" in done.stderr
    # Of a model that is no longer served, for one.
    assert "warning" not in done.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["custom_id"] for line in lines] == [f"request-{n}" for n in range(1, 5)]
    for line in lines:
        body = line["response"]["body"]
        assert body["object"] == "chat.completion"
        assert line["error"] is None
    answers = [line["response"]["body"]["choices"][0]["message"]["content"] for line in lines]
    assert ["38" in answers[0], "12" in answers[1], "38" in answers[2], "12" in answers[3]] == [
        True
    ] * 4
    assert suite.sandbox("/sandbox/bill")["extra_billings"] == 0
    batch_id = lines[0]["id"].rpartition("-")[0]
    check_costs(
        suite, batch_id, (ResultLine.parse(raw).cost for raw in out.read_bytes().splitlines())
    )
    assert " USD" in done.stderr


def test_a_request_id_makes_the_command_repeatable(suite: Suite) -> None:
    command = ("submit", "examples/chat-mixed.jsonl", "--no-watch", "--request-id")
    first, again, other = (suite.cli(*command, name) for name in ("daily-1", "daily-1", "daily-2"))
    assert (first.returncode, again.returncode, other.returncode) == (0, 0, 0), again.stderr
    assert first.stdout == again.stdout != other.stdout
    with suite.client() as client:
        for batch_id in (first.stdout.strip(), other.stdout.strip()):
            assert client.wait(batch_id, timeout=60).state == BatchState.COMPLETED
    assert suite.sandbox("/sandbox/bill")["lines_billed"] == 8


def test_embeddings(suite: Suite) -> None:
    with suite.client() as client:
        batch = client.submit(ROOT / "examples/embeddings.jsonl")
        assert client.wait(batch.id, timeout=60).state == BatchState.COMPLETED
        lines = list(client.results(batch.id))
    assert [len(line.embedding or []) for line in lines] == [3072, 1536]


@pytest.mark.timeout(180)
@pytest.mark.long
def test_fifty_thousand_lines(suite: Suite, tmp_path: Path) -> None:
    count = 50_000
    path = write(tmp_path / "many.jsonl", (chat(n) for n in range(count)))
    with suite.client() as client:
        batch = client.submit(path)
        seen = list(client.watch(batch.id, timeout=120))
        assert seen[-1].state == BatchState.COMPLETED
        counts = seen[-1].request_counts
        assert (counts.total, counts.succeeded, counts.failed) == (count, count, 0)
        revisions = [snapshot.revision for snapshot in seen]
        assert revisions == sorted(set(revisions))
        progress = [snapshot.progress_percent for snapshot in seen]
        assert progress == sorted(progress)
        for snapshot in seen:
            parts = snapshot.request_counts
            assert parts.total == (
                parts.queued + parts.submitted + parts.processed + parts.retrying + parts.finished
            )
        answered = sum(line.ok for line in check_answers(client.results(batch.id), range(count)))
        assert answered == count
        manifest = client.manifest(batch.id)
    assert manifest.input_line_count == count
    assert sum(shard.line_count for shard in manifest.shards) == count
    check_bill(suite, count)


BAD_LINES = {
    2: "not json",
    3: '["a", "list"]',
    4: json.dumps(chat(4) | {"custom_id": ""}),
    5: json.dumps(chat(5) | {"provider": "nobody"}),
    6: json.dumps(chat(6) | {"method": "GET"}),
    7: json.dumps(chat(7) | {"url": "/v1/images"}),
    8: json.dumps(
        {**chat(8), "url": "/v1/embeddings", "body": {"model": "openai/x", "input": "a"}}
    ),
    9: json.dumps(chat(9) | {"custom_id": "line-1"}),
    10: json.dumps({**chat(10), "body": {"model": "openai/gpt-4.1"}}),
    11: json.dumps({**chat(11), "body": {**chat(11)["body"], "model": "openai/gpt-4.1"}}),
    12: json.dumps({**chat(12), "body": {**chat(12)["body"], "stream": True}}),
    13: json.dumps(chat(13) | {"custom_id": 5}),
    14: json.dumps(chat(15, n=2)),
}


@pytest.fixture
def bad_file(tmp_path: Path) -> Path:
    good = {1: json.dumps(chat(1)), 15: "", 16: json.dumps(chat(16))}
    lines = BAD_LINES | good
    return write(tmp_path / "bad.jsonl", (lines[n] for n in sorted(lines)))


def test_every_kind_of_bad_line_is_named(suite: Suite, bad_file: Path) -> None:
    with suite.client() as client:
        file = client.upload(bad_file)
        report = list(client.files.validation_report(file.id))
        with pytest.raises(InvalidLines) as caught:
            client.create_batch(file)
        assert file.invalid_line_count == len(BAD_LINES)
    assert {problem.line for problem in report} >= set(BAD_LINES)
    assert {problem.line for problem in report if problem.reason} >= set(BAD_LINES)
    assert caught.value.file_id == file.id
    assert len(caught.value.problems) <= 20
    duplicate = next(problem for problem in report if problem.line == 9)
    assert "line 1" in duplicate.message
    checked = suite.cli("validate", str(bad_file))
    assert checked.returncode == 2
    for number in BAD_LINES:
        assert f"bad.jsonl:{number}: error" in checked.stdout
    assert suite.sandbox("/sandbox/bill")["lines_billed"] == 0


def test_bad_lines_can_be_skipped(suite: Suite, bad_file: Path) -> None:
    with suite.client() as client:
        batch = client.submit(bad_file, skip_invalid_lines=True)
        ended = client.wait(batch.id, timeout=60)
        assert ended.state == BatchState.COMPLETED
        counts = ended.request_counts
        assert (counts.succeeded, counts.failed) == (2, len(BAD_LINES))
        lines = list(client.results(batch.id))
        failures = list(client.failures(batch.id, page_size=5))
        only_good = list(client.results(batch.id, filter=ResultFilter.SUCCEEDED))
    assert [line.ok for line in lines] == [True, *[False] * len(BAD_LINES), True]
    assert [failure.line for failure in failures] == sorted(BAD_LINES)
    assert failures[7].code == "duplicate_custom_id"
    assert all(failure.code and failure.message for failure in failures)
    assert [line.custom_id for line in only_good] == ["line-1", "line-16"]


def test_a_lenient_batch_tells_what_it_left_out(suite: Suite, tmp_path: Path) -> None:
    lines = [
        chat(0, seed=1, n=1),
        chat(1, seed=1, n=2, verbosity="low"),
        chat(2),
        chat(3),
        chat(5, seed=1),
        chat(7, stop=5),
    ]
    path = write(tmp_path / "lossy.jsonl", lines)
    with suite.client() as client:
        with pytest.raises(InvalidLines) as caught:
            client.submit(path)
        assert {problem.line for problem in caught.value.problems} == {2, 6}
        assert "--lenient" in caught.value.next_step
        batch = client.submit(path, lenient=True, skip_invalid_lines=True)
        ended = client.wait(batch.id, timeout=60)
        assert (ended.state, ended.lenient_translation) == (BatchState.COMPLETED, True)
        assert (ended.request_counts.succeeded, ended.request_counts.failed) == (5, 1)
        found = list(client.results(batch.id))
        strict = client.submit(path, skip_invalid_lines=True)
        assert client.wait(strict.id, timeout=60).request_counts.failed == 2
        assert all(b"dropped" not in line.raw for line in client.results(strict.id))
    assert [line.dropped for line in found] == [
        (),
        ("body.seed", "body.n", "body.verbosity"),
        (),
        (),
        ("body.seed",),
        (),
    ]
    assert [b"dropped" in line.raw for line in found] == [False, True, False, False, True, False]
    assert [line.ok for line in found] == [True] * 5 + [False]
    gpt, claude = "openai/gpt-4.1", "anthropic/claude-4.6-sonnet"
    assert [line.model for line in found] == [gpt, claude, gpt, claude, claude, ""]


def test_a_webhook_tells_of_the_end(suite: Suite) -> None:
    key = {"POLYBATCH_API_KEY": suite.new_key("called", "account")}
    made = suite.cli("webhooks", "create", "--for-batches", "--json", environment=key)
    secret = json.loads(made.stdout)["secret"]
    with receiving() as receiver:
        receiver.secret = secret
        words = ("submit", "examples/chat-mixed.jsonl", "--webhook", receiver.url, "--json")
        batch = json.loads(suite.cli(*words, environment=key).stdout)
        wait_for(lambda: bool(receiver.calls), "the call")
    body, headers = receiver.last
    client = OpenAI(api_key="unused", webhook_secret=secret)
    event = client.webhooks.unwrap(body, headers)
    assert (event.type, event.data.id) == ("batch.completed", batch["id"])
    with suite.client(key["POLYBATCH_API_KEY"]) as owner:

        def state() -> str:
            (delivery,) = owner.webhooks.deliveries(batch_id=batch["id"])
            return delivery.state

        wait_for(lambda: state() == "delivered", "the note of it")


def test_two_accounts_see_nothing_of_each_other(suite: Suite, tmp_path: Path) -> None:
    path = write(tmp_path / "few.jsonl", (chat(n) for n in range(4)))
    with suite.client() as mine, suite.client(suite.new_key("stranger")) as stranger:
        batch = mine.submit(path)
        mine.wait(batch.id, timeout=60)
        file_id = batch.input_file_id
        calls: dict[str, Callable[[], object]] = {
            "get": lambda: stranger.get_batch(batch.id),
            "cancel": lambda: stranger.cancel_batch(batch.id),
            "watch": lambda: next(stranger.watch(batch.id)),
            "results": lambda: list(stranger.results(batch.id)),
            "failures": lambda: list(stranger.failures(batch.id)),
            "create": lambda: stranger.create_batch(file_id),
            "file": lambda: stranger.files.get(file_id),
            "delete": lambda: stranger.files.delete(file_id),
            "download": lambda: list(stranger.files.chunks(file_id)),
            "report": lambda: list(stranger.files.validation_report(file_id)),
        }
        seen = []
        for name, call in calls.items():
            try:
                call()
                seen.append(name)
            except NotFound:
                continue
        assert seen == []
        assert list(stranger.list_batches()) == []
        assert list(stranger.files.list()) == []
        assert batch.id in {found.id for found in mine.list_batches()}


@pytest.mark.long
def test_the_demo(tmp_path: Path, suite: Suite) -> None:
    done = subprocess.run(
        ["make", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for request in ("request-1", "request-2", "request-3", "request-4"):
        assert request in done.stdout
    assert "3072 numbers" in done.stdout
