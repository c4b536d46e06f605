"""Every error code of a failed batch, by name: what is done about it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core.providers.contract import BadLine, RemoteState
from core.providers.openai.batches import batch_of
from core.providers.openai.errors import BLAMES, Blame, refusal
from core.providers.openai.wire import RemoteJob

# The table of section 7 of the fact sheet, and Azure's of how-to-batch-content.md.
CODES = {
    "invalid_json_line": Blame.LINE,
    "missing_required_parameter": Blame.LINE,
    "duplicate_custom_id": Blame.LINE,
    "invalid_url": Blame.LINE,
    "mismatched_model": Blame.BATCH,
    "model_not_found": Blame.BATCH,
    "invalid_request": Blame.LINE,
    "streaming_unsupported": Blame.LINE,
    "token_limit_exceeded": Blame.TIME,
    "empty_file": Blame.BATCH,
    "billing_hard_limit_reached": Blame.TIME,
    "too_many_tasks": Blame.BATCH,
    "url_mismatch": Blame.LINE,
    "model_mismatch": Blame.BATCH,
    "empty_batch": Blame.BATCH,
    "invalid_method": Blame.LINE,
    "input_no_permissions": Blame.BATCH,
    "input_modified": Blame.TIME,
}


def failed(errors: Any = None, **fields: Any) -> RemoteJob:
    raw = {"id": "b", "status": "failed", "errors": errors} | fields
    return msgspec.convert(raw, RemoteJob)


def entry(code: str | None, line: int | None = None, **fields: Any) -> dict[str, Any]:
    return {"code": code, "message": f"about {code}", "param": None, "line": line} | fields


def test_every_code_is_known_by_name() -> None:
    assert BLAMES == {**CODES, "failed": Blame.BATCH}


@pytest.mark.parametrize("code", CODES)
def test_what_is_done_about_a_code(code: str) -> None:
    refused = refusal(failed({"object": "list", "data": [entry(code, 3, param="p")]}))
    assert refused.code == code
    # The code is shown beside it.
    assert refused.message == f"p: about {code}"
    assert refused.transient is (CODES[code] is Blame.TIME)
    blamed = (BadLine(3, code, "p", f"about {code}"),) if CODES[code] is Blame.LINE else ()
    assert refused.bad_lines == blamed


@pytest.mark.parametrize("code", CODES)
def test_a_code_that_names_no_line_blames_none(code: str) -> None:
    refused = refusal(failed({"data": [entry(code)]}))
    assert refused.bad_lines == ()
    assert refused.transient is (CODES[code] is Blame.TIME)


def test_several_bad_lines() -> None:
    refused = refusal(failed({"data": [entry("invalid_url", line) for line in range(1, 40)]}))
    assert [bad.position for bad in refused.bad_lines] == list(range(1, 40))
    assert refused.message.count("about invalid_url") == 20


def test_a_refusal_passes_only_if_all_of_it_does() -> None:
    errors = [entry("token_limit_exceeded"), entry("invalid_url", 2)]
    refused = refusal(failed({"data": errors}))
    assert not refused.transient
    assert [bad.position for bad in refused.bad_lines] == [2]
    assert refused.message == "about token_limit_exceeded; invalid_url: about invalid_url"


def test_a_code_of_tomorrow_blames_its_line() -> None:
    assert refusal(failed({"data": [entry("of_tomorrow", 2)]})).bad_lines
    assert not refusal(failed({"data": [entry("of_tomorrow")]})).transient


def test_a_file_that_is_not_seen_yet_is_sent_again() -> None:
    assert refusal(failed({"data": [entry("invalid_request", param="file_id")]})).transient
    assert not refusal(failed({"data": [entry("invalid_request", 1, param="body")]})).transient


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (entry("invalid_request", param="file_id"), True),
        (entry("input_modified"), True),
        (entry(None, message="The file 'file-1' was not found."), True),
        (entry("invalid_request", message="No such file: file-1"), True),
        (entry("invalid_request", message="Input file has expired"), True),
        (entry("invalid_request", 3, message="the file part was not found", param="body"), False),
        (entry("token_limit_exceeded"), False),
        (entry("model_not_found", message="The model was not found"), False),
    ],
)
def test_a_file_that_is_not_there_is_uploaded_anew(error: dict[str, Any], lost: bool) -> None:
    refused = refusal(failed({"data": [error]}))
    assert refused.input_lost == lost
    assert refused.transient or not lost


def test_the_enqueued_token_limit_is_read() -> None:
    message = (
        "Enqueued token limit reached for gpt-4.1 in organization org-x. Limit: 90,000 "
        "enqueued tokens. Please try again once some in_progress batches have been completed."
    )
    errors = {"data": [entry("token_limit_exceeded", message=message)]}
    assert refusal(failed(errors)).enqueued_token_limit == 90_000


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"errors": None}, "failed", "the provider gave no reason"),
        ({"errors": {"data": None}}, "failed", "the provider gave no reason"),
        ({"errors": {"data": []}}, "failed", "the provider gave no reason"),
        ({"errors": [entry("invalid_method", 1)]}, "invalid_method", None),  # Groq
        ({"errors": None, "error": "no such model"}, "failed", "no such model"),  # Together
        ({"errors": {"data": [5]}}, "failed", "the provider gave no reason"),
        ({"errors": "odd"}, "failed", "the provider gave no reason"),
    ],
)
def test_errors_in_the_forms_of_others(
    fields: dict[str, Any], code: str, message: str | None
) -> None:
    refused = refusal(failed(**fields))
    assert refused.code == code
    assert message is None or refused.message == message


@pytest.mark.parametrize("odd", [{"line": [3]}, {"line": 3.5}, {"param": 7}, {"message": ["x"]}])
def test_an_odd_member_of_an_error_costs_nothing_but_itself(odd: dict[str, Any]) -> None:
    refused = refusal(failed({"data": [entry("token_limit_exceeded") | odd]}))
    assert (refused.code, refused.transient) == ("token_limit_exceeded", True)


def test_the_number_of_a_line_may_be_a_text() -> None:
    refused = refusal(failed({"data": [entry("invalid_url") | {"line": "3"}]}))
    assert refused.bad_lines == (BadLine(3, "invalid_url", "", "about invalid_url"),)


def test_counts_in_an_odd_form_do_not_keep_a_batch_from_being_read() -> None:
    counts = {"total": "3", "completed": 2.0, "failed": [1]}
    raw = {"id": "b", "status": "completed", "request_counts": counts, "output_file_id": "f"}
    batch = batch_of(msgspec.convert(raw, RemoteJob))
    assert (batch.state, batch.total, batch.finished) == (RemoteState.ENDED, 3, 2)
    assert batch.result_sources == ("f",)


def test_what_a_failed_batch_completed_may_be_told_as_a_text() -> None:
    raw = {"id": "b", "status": "failed", "request_counts": {"total": "3", "completed": "2"}}
    batch = batch_of(msgspec.convert(raw, RemoteJob))
    assert (batch.state, batch.ended_as) == (RemoteState.ENDED, "failed")
