"""Every address, asked for by whoever may not: the tables of routes name all that there are."""

from __future__ import annotations

import re

import pytest

from services.web.dashboard.routes import PAGES
from services.web.operations import FormBody, Operation
from services.web.routes import ROUTES
from tests.integration.web.conftest import Browser, Web

NOBODYS = {
    "file_id": f"file-{'0' * 20}",
    "upload_id": "upload_" + "A" * 22,
    "endpoint_id": f"webhook_{'0' * 20}",
    "delivery_id": f"delivery_{'0' * 20}",
    "key_id": f"key_{'0' * 20}",
    "name": "chat-completions",
    "line": "1",
    "which": "all",
}
REPORTED = {"accept": "text/html"}


def path_of(template: str) -> str:
    """With ids of the right form that nobody has."""
    kind = "msgbatch" if template.startswith("/anthropic") else "batch"
    ids = NOBODYS | {"batch_id": f"{kind}_{'0' * 20}", "model": "openai/gpt-4.1"}
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: ids[found[1]], template)


def sent(operation: Operation) -> dict[str, str]:
    if isinstance(operation.body, FormBody):
        return {"content-type": "multipart/form-data; boundary=B"}
    return {}


@pytest.mark.parametrize("key", [None, "pb_" + "x" * 43, "pb_\xe4"])
async def test_no_route_serves_who_has_no_valid_key(web: Web, key: str | None) -> None:
    async with web.with_key(None) as client:
        for each in ROUTES:
            headers = sent(each) | ({} if key is None else {"x-api-key": key})
            encoded = [(name, value.encode("latin-1")) for name, value in headers.items()]
            answer = await client.request(each.method, path_of(each.path), headers=encoded)
            # What is wrong with a body, or with the form of an id, may be said before it is asked
            # whose it is.
            early = key is not None and key.isascii() and answer.status_code in (400, 404)
            assert answer.status_code == 401 or early, (each.method, each.path)
            assert key is None or key not in answer.text


async def test_no_page_is_shown_to_who_is_not_signed_in(web: Web) -> None:
    cookies = {"polybatch_session": "gAAAAABnAAAA", "__Host-polybatch_session": "gAAAAABnAAAA"}
    for forged in ({}, cookies):
        async with web.with_key(None) as client:
            client.cookies.update(forged)
            for method, path, _ in PAGES:
                answer = await client.request(method, path_of(path), headers=REPORTED)
                assert answer.status_code == 303, path
                assert answer.headers["location"].partition("?")[0] == "/sign-in", path


async def test_no_form_is_taken_from_elsewhere(signed_in: Browser) -> None:
    forms = [(method, path) for method, path, _ in PAGES if method != "GET"]
    assert len(forms) > 15
    for method, path in forms:
        for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
            answer = await signed_in.client.request(
                method, path_of(path), headers=REPORTED | headers
            )
            assert answer.status_code == 403, path
        answer = await signed_in.client.request(method, path_of(path), headers=REPORTED)
        # One without a file is told so first.
        assert answer.status_code == (400 if path == "/new" else 403), path
    assert (await signed_in.client.get("/")).status_code == 200, "the session goes on"
