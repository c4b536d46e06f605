"""OpenAI's files: uploads, lists, contents, and what an upload refuses."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types import FileObject

from tests.support.sandbox.driving import Sandbox, assert_exact


def test_upload_and_read_back(openai_client: openai.OpenAI) -> None:
    content = bytes(range(256)) * 5000 + b"\r\n--not-the-boundary\r\n"
    file = openai_client.files.create(file=("gw-ü 1.jsonl", content), purpose="batch")
    assert_exact(FileObject, file.to_dict())
    assert file.filename == "gw-ü 1.jsonl"
    assert file.bytes == len(content)
    assert file.status == "processed"
    assert file.expires_at == file.created_at + 30 * 86400
    assert openai_client.files.retrieve(file.id) == file
    assert openai_client.files.content(file.id).content == content
    deleted = openai_client.files.delete(file.id)
    assert deleted.to_dict() == {"id": file.id, "object": "file", "deleted": True}
    for call in (
        openai_client.files.retrieve,
        openai_client.files.content,
        openai_client.files.delete,
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            call(file.id)
        assert caught.value.type == "invalid_request_error"


def test_expiry_can_be_set(openai_client: openai.OpenAI) -> None:
    file = openai_client.files.create(
        file=("a.jsonl", b"{}"),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert file.expires_at == file.created_at + 3600


def test_list_by_purpose_order_and_page(openai_client: openai.OpenAI) -> None:
    made = [
        openai_client.files.create(file=(f"{i}.jsonl", b"{}"), purpose="batch").id for i in range(3)
    ]
    other = openai_client.files.create(file=("x.txt", b"x"), purpose="user_data")
    assert [f.id for f in openai_client.files.list()] == [other.id, *made[::-1]]
    assert [f.id for f in openai_client.files.list(purpose="batch", order="asc")] == made
    page = openai_client.files.list(purpose="batch", limit=2)
    assert [f.id for f in page.data] == [made[2], made[1]]
    assert page.has_more
    assert [f.id for f in page] == made[::-1]


@pytest.mark.parametrize(
    ("name", "content", "options", "param"),
    [
        ("a.json", b"{}", {"purpose": "batch"}, "file"),
        ("a.jsonl", b"{}", {"purpose": "nonsense"}, "purpose"),
        (
            "a.jsonl",
            b"{}",
            {"purpose": "batch", "expires_after": {"anchor": "created_at", "seconds": 1}},
            "expires_after.seconds",
        ),
    ],
)
def test_what_an_upload_refuses(
    openai_client: openai.OpenAI, name: str, content: bytes, options: Any, param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.files.create(file=(name, content), **options)
    assert caught.value.param == param
    assert openai_client.files.list().data == []


@pytest.mark.parametrize("content", [b"", b"not json\n"])
def test_upload_may_look_at_the_first_line(
    sandbox: Sandbox, openai_client: openai.OpenAI, content: bytes
) -> None:
    openai_client.files.create(file=("a.jsonl", content), purpose="batch")
    sandbox.set(upload_checks=True)
    with pytest.raises(openai.BadRequestError):
        openai_client.files.create(file=("a.jsonl", content), purpose="batch")


@pytest.mark.long
def test_a_batch_file_over_200_mb_is_refused(openai_client: openai.OpenAI) -> None:
    content = bytes(200_000_001)
    with pytest.raises(openai.BadRequestError, match="too large"):
        openai_client.files.create(file=("a.jsonl", content), purpose="batch")


def test_a_body_that_is_no_form_is_refused(sandbox: Sandbox) -> None:
    for content_type in ("application/json", "multipart/form-data; boundary=x"):
        answer = sandbox.http.post(
            "/v1/files",
            content=b"{}",
            headers={"authorization": "Bearer key", "content-type": content_type},
        )
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_unknown_paths_are_answered_in_the_vendor_s_form(sandbox: Sandbox) -> None:
    answer = sandbox.http.get("/v1/nothing")
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "invalid_request_error"
    answer = sandbox.http.get("/v1/messages/nothing")
    assert answer.status_code == 404
    assert answer.json()["type"] == "error"
