"""The judgement that other tests pass on a bill."""

from __future__ import annotations

from collections.abc import Callable

import openai
import pytest

from tests.support.sandbox.driving import Sandbox, chat_line, create, rows, until
from tests.support.sandbox.waste import assert_nothing_wasted, needed_uploads, waste


def test_a_careful_caller_wastes_nothing(sandbox: Sandbox, openai_client: openai.OpenAI) -> None:
    batch = until(openai_client, create(openai_client, [chat_line("a")]))
    rows(openai_client, batch.output_file_id)
    openai_client.files.delete(batch.input_file_id)
    usage = sandbox.bill()
    assert needed_uploads(usage) == 1
    assert_nothing_wasted(usage)
    assert_nothing_wasted(usage, uploads=1)


def impatient(client: openai.OpenAI) -> None:
    for _ in range(2):
        with pytest.raises(openai.RateLimitError):
            client.batches.list()


def forgetful(client: openai.OpenAI) -> None:
    until(client, create(client, [chat_line("a")]))


def thorough(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.files.delete("file-x")


def wordy(client: openai.OpenAI) -> None:
    client.files.create(file=("a.jsonl", b"{}"), purpose="batch")


@pytest.mark.parametrize(
    ("caller", "words"),
    [
        (impatient, "1 calls before a Retry-After"),
        (forgetful, "1 answers billed and never fetched"),
        (thorough, "1 files deleted twice"),
        (wordy, "1 uploads, at most 0"),
    ],
)
def test_waste_is_named(
    sandbox: Sandbox,
    openai_client: openai.OpenAI,
    caller: Callable[[openai.OpenAI], None],
    words: str,
) -> None:
    fault = {"kind": "status", "status": 429, "retry_after": 3600, "calls": ["list"]}
    sandbox.set(crossing_seconds=0, faults=[fault])
    caller(openai_client)
    usage = sandbox.bill()
    (found,) = waste(usage, uploads=needed_uploads(usage))
    assert found.startswith(words)
    with pytest.raises(AssertionError, match=words):
        assert_nothing_wasted(usage)


def test_answers_of_a_batch_that_was_given_up_need_not_be_fetched(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    forgetful(openai_client)
    assert_nothing_wasted(sandbox.bill(), unfetched=1)


def test_an_upload_whose_answer_was_lost_may_be_repeated(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    sandbox.fault("reset_after", calls=["upload"], count=1)
    with pytest.raises(openai.APIConnectionError):
        wordy(openai_client)
    batch = until(openai_client, create(openai_client, [chat_line("a")]))
    rows(openai_client, batch.output_file_id)
    assert_nothing_wasted(sandbox.bill())
