"""The dashboard's pages over HTTP, in front of a real gateway."""

from __future__ import annotations

import asyncio
import json
import re
from html.parser import HTMLParser
from typing import Any

import httpx2
import pytest

from tests.integration.web.conftest import Browser, StartWeb
from tests.support.gateway.running import line, lines

HOSTILE = "<img src=x onerror=alert(1)>\"'.jsonl"
SCRIPT = "<script>alert(1)</script>"
PAGES = ("/", "/new", "/usage", "/keys", "/webhooks", "/providers")


class Forbidden(HTMLParser):
    """What the policy would not let run, and what must not be asked for elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in values):
            self.found.append(tag)
        for name, value in values.items():
            elsewhere = name in ("src", "href", "action") and re.match("(https?:)?//", value or "")
            if name == "style" or name.startswith("on") or elsewhere:
                self.found.append(f"{tag} {name}")


async def test_signing_in_and_out(browser: Browser) -> None:
    answer = await browser.client.get("/usage")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/usage")
    answer = await browser.sign_in("pb_not-a-key")
    assert answer.status_code == 401
    assert "not valid" in answer.text
    assert "set-cookie" not in answer.headers
    answer = await browser.sign_in(browser.web.key, "/usage")
    assert (answer.status_code, answer.headers["location"]) == (303, "/usage")
    token = await browser.token()
    answer = await browser.client.post("/sign-out", data={"csrf": token})
    assert answer.headers["location"] == "/sign-in"
    assert (await browser.client.get("/")).status_code == 303


async def test_a_link_on_another_site_leads_to_its_page(signed_in: Browser) -> None:
    """A strict cookie is not sent with it; the page asks again by itself."""
    async with signed_in.web.with_key(None) as other:
        answer = await other.get("/usage", headers={"sec-fetch-site": "cross-site"})
        assert answer.status_code == 200
        assert 'http-equiv="refresh" content="0"' in answer.text
        answer = await other.get("/usage", headers={"sec-fetch-site": "same-origin"})
        assert answer.headers["location"] == "/sign-in?next=/usage"


@pytest.mark.parametrize("target", ["//evil.example", "/\\evil.example", "https://evil.example"])
async def test_signing_in_leads_to_no_other_host(browser: Browser, target: str) -> None:
    answer = await browser.sign_in(browser.web.key, target)
    assert answer.headers["location"] == "/"


async def test_no_page_holds_the_key_or_anything_that_the_policy_forbids(
    signed_in: Browser,
) -> None:
    for path in PAGES:
        answer = await signed_in.client.get(path)
        assert answer.status_code == 200, path
        assert signed_in.web.key not in answer.text
        assert Forbidden(answer.text).found == [], path
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert {"default-src 'none'", "frame-ancestors 'none'"} <= set(policy.split("; "))
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        for asset in re.findall(r'"(/static/[^"]+)"', answer.text):
            assert (await signed_in.client.get(asset)).status_code == 200, asset


async def test_a_session_ends_with_its_key(signed_in: Browser) -> None:
    gateway = signed_in.web.gateway
    key = await gateway.ledger.accounts.create_key("default")
    assert (await signed_in.sign_in(key.secret)).status_code == 303
    assert (await signed_in.client.get("/")).status_code == 200
    await gateway.ledger.accounts.revoke_key(key.key_id)
    answer = await signed_in.client.get("/")
    assert answer.headers["location"] == "/sign-in"
    assert 'polybatch_session=""' in answer.headers["set-cookie"]


async def test_forms_of_others_do_nothing(signed_in: Browser) -> None:
    token = await signed_in.token()
    refused = [
        await signed_in.client.post("/sign-out", data={"csrf": "x"}),
        await signed_in.client.post("/sign-out", data={}),
        await signed_in.client.post(
            "/sign-out", data={"csrf": token}, headers={"origin": "https://evil.example"}
        ),
        await signed_in.client.post(
            "/sign-out", data={"csrf": token}, headers={"sec-fetch-site": "cross-site"}
        ),
        await signed_in.upload("a.jsonl", lines(2), token=""),
    ]
    assert [each.status_code for each in refused] == [403] * 5
    assert (await signed_in.client.get("/")).status_code == 200
    assert await signed_in.web.left() == []


async def test_keys_cannot_be_guessed_at_will(browser: Browser) -> None:
    for number in range(10):
        assert (await browser.sign_in(f"pb_{number}")).status_code == 401
    answer = await browser.sign_in(browser.web.key)
    assert answer.status_code == 429
    assert "try again in" in answer.text


class Sending:
    """An upload that goes on after a break, as the page's script sends it."""

    def __init__(self, browser: Browser, token: str) -> None:
        self.browser = browser
        self.address = "/uploads/an-upload-of-a-page"
        self.headers = {"accept": "application/json", "x-csrf-token": token}

    async def status(self) -> Any:
        answer = await self.browser.client.get(self.address, headers=self.headers)
        assert answer.status_code == 200
        return answer.json()

    async def send(self, content: bytes, offset: int, size: int) -> httpx2.Response:
        own = {"upload-offset": str(offset), "upload-length": str(size), "upload-name": "a%20b"}
        return await self.browser.client.patch(
            self.address, content=content, headers=self.headers | own
        )

    async def break_off(self, content: bytes, size: int) -> None:
        """Send the first bytes of a file, and vanish."""
        headers = self.headers | {
            "cookie": "; ".join(f"{each.name}={each.value}" for each in self.cookies),
            "upload-offset": "0",
            "upload-length": str(size),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        port = self.browser.web.server.port
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        request = f"PATCH {self.address} HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n{head}"
        writer.write(request.encode() + b"\r\n" + content)
        async with asyncio.timeout(20):
            while not (await self.status())["problem_count"]:
                pass
        writer.transport.abort()

    @property
    def cookies(self) -> list[Any]:
        return list(self.browser.client.cookies.jar)


async def test_an_upload_goes_on_where_the_server_stands(signed_in: Browser) -> None:
    sending = Sending(signed_in, await signed_in.token())
    content = line(SCRIPT, method="GET") + b"\n" + lines(7000, size=400)
    assert await sending.status() == {"offset": 0, "problem_count": 0, "problems": "", "next": ""}
    await sending.break_off(content[: 2 << 20], len(content))
    async with asyncio.timeout(20):
        while not (at := await sending.status())["offset"]:
            pass
        assert at["problem_count"] == 1
        assert SCRIPT not in at["problems"]
        assert "alert(1)" in at["problems"]
        # The stream that broke may still be committing what came.
        while (
            "error"
            in (
                answer := await sending.send(content[at["offset"] :], at["offset"], len(content))
            ).json()
        ):
            assert answer.json()["error"]["code"] in ("write_offset_mismatch", "upload_conflict")
            at = await sending.status()
    address = answer.json()["next"]
    assert (await sending.status())["next"] == address
    page = (await signed_in.client.get(address)).text
    assert "a b" in page
    assert "7,001 lines" in page
    again = await sending.send(b"", len(content), len(content))
    assert again.json()["next"] == address, "sent twice, made once"


async def test_an_upload_that_is_cancelled_leaves_nothing(signed_in: Browser) -> None:
    sending = Sending(signed_in, await signed_in.token())
    content = line(method="GET") + b"\n" + lines(7000, size=400)
    await sending.break_off(content[: 2 << 20], len(content))
    forged = await signed_in.client.delete(sending.address, headers={"accept": "application/json"})
    assert forged.status_code == 403
    for _ in range(2):
        gone = await signed_in.client.delete(sending.address, headers=sending.headers)
        assert gone.json() == {"next": ""}
    async with asyncio.timeout(20):
        while await signed_in.web.left():
            pass
    wrong = await sending.send(content[:10], 0, 20)
    assert wrong.status_code == 400, "the file is another one now"
    for name in ("upload-offset", "upload-length", "x-csrf-token"):
        headers = sending.headers | {"upload-offset": "0", "upload-length": "9", name: "x"}
        answer = await signed_in.client.patch(sending.address, content=b"{}", headers=headers)
        assert answer.status_code in (400, 403), name
    assert await signed_in.web.left() == []


async def test_a_batch_is_made_of_a_file_without_scripts(signed_in: Browser) -> None:
    body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
    content = b"".join(line(each, body=body) + b"\n" for each in "abc")
    answer = await signed_in.upload("tickets.jsonl", content)
    assert answer.status_code == 303
    address = answer.headers["location"]
    page = (await signed_in.client.get(address)).text
    assert "3 lines" in page
    assert "Expected" in page
    fields = {"csrf": await signed_in.token(), "once": "one", "window": "6"}
    wrong = await signed_in.client.post(address, data=fields | {"max_cost": "much"})
    assert wrong.status_code == 400
    assert "such as 12.50" in wrong.text
    assert '<option value="6" selected>' in wrong.text, "what was chosen stays"
    for name, value in (("canary_lines", "2.5"), ("max_failure_rate", "101"), ("priority", "x")):
        wrong = await signed_in.client.post(address, data=fields | {name: value})
        assert wrong.status_code == 400, name
        assert '<details class="more" open>' in wrong.text, "what is wrong can be seen"
    made = await signed_in.client.post(address, data=fields | {"max_cost": "12.50"})
    again = await signed_in.client.post(address, data=fields | {"max_cost": "12.50"})
    assert made.headers["location"] == again.headers["location"], "sent twice, made once"
    page = (await signed_in.client.get(made.headers["location"])).text
    assert "limit <span" in page
    assert "$12.50" in page
    listed = (await signed_in.client.get("/")).text
    assert listed.count('id="row-batch_') == 1
    assert "tickets.jsonl" in listed
    batch_id = made.headers["location"].rpartition("/")[2]
    found = await signed_in.client.get("/", params={"q": batch_id})
    assert found.headers["location"] == f"/batches/{batch_id}"
    await signed_in.client.post(f"/batches/{batch_id}/pause", data=fields)
    page = (await signed_in.client.get(f"/batches/{batch_id}")).text
    assert page.count("Paused since") == 1
    assert "paused: by" not in page, "it is told once"
    assert "<dt>Paused by</dt>" in page
    asked = await signed_in.client.get(f"/batches/{batch_id}/cancel")
    assert "Cancel this batch?" in asked.text
    await signed_in.client.post(f"/batches/{batch_id}/cancel", data=fields)
    page = (await signed_in.client.get(f"/batches/{batch_id}")).text
    assert re.search("Cancell(ing|ed)", page)


async def test_hostile_content_is_text(signed_in: Browser) -> None:
    content = line(SCRIPT) + b"\n" + json.dumps({"custom_id": SCRIPT + "2"}).encode() + b"\n"
    answer = await signed_in.upload(HOSTILE, content)
    address = answer.headers["location"]
    fields = {"csrf": await signed_in.token(), "skip_invalid_lines": "on"}
    made = await signed_in.client.post(address, data=fields)
    batch = made.headers["location"]
    for path in (address, batch, "/", f"{batch}/lines/1", f"{batch}/cancel"):
        text = (await signed_in.client.get(path)).text
        assert "<img src=x" not in text, path
        assert SCRIPT not in text, path
        assert Forbidden(text).found == [], path
        assert "alert(1)" in text, "it is shown, as text"


async def test_what_is_not_there_is_told_on_a_page(signed_in: Browser) -> None:
    nobody = "0" * 20
    for path in (f"/batches/batch_{nobody}", f"/new/file_{nobody}", "/samples/x.jsonl"):
        answer = await signed_in.client.get(path)
        assert answer.status_code == 404
        assert "To the batches" in answer.text
    answer = await signed_in.client.get("/", params={"q": f"batch_{nobody}"})
    assert "No batch is found by this" in answer.text


LOST = (
    ("GET", "/nope", 404),
    ("GET", "/batches/batch_1/lines/abc", 404),
    ("GET", f"/batches/batch_{'0' * 20}/lines/{'9' * 5000}", 404),
    ("GET", f"/batches/batch_{'0' * 20}/lines/0", 404),
    ("GET", "/batches/batch_1/pause", 405),
    ("POST", "/nope", 404),
)


async def test_an_address_that_is_none_is_told_on_a_page(signed_in: Browser) -> None:
    shown = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for method, path, status in LOST:
        answer = await signed_in.client.request(method, path, headers=shown)
        assert answer.status_code == status, path
        assert answer.headers["content-type"].startswith("text/html"), path
        assert "To the batches" in answer.text
        assert "openapi" not in answer.text
        told = await signed_in.client.request(method, path)
        assert told.status_code == status, path
        assert told.json()["error"]["message"], "programs read JSON"
    for path in ("/v1", "/v1/nope", "/anthropic/v1/nope"):
        answer = await signed_in.client.get(path, headers=shown)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
    async with signed_in.web.with_key(None) as stranger:
        answer = await stranger.get("/nope", headers=shown)
        assert answer.headers["location"] == "/sign-in?next=/nope"


async def test_samples_are_files_that_the_gateway_takes(signed_in: Browser) -> None:
    names = re.findall(r'"(/samples/[^"]+)"', (await signed_in.client.get("/new")).text)
    assert names
    for name in names:
        sample = await signed_in.client.get(name)
        answer = await signed_in.upload("sample.jsonl", sample.content)
        page = (await signed_in.client.get(answer.headers["location"])).text
        assert "lines cannot be sent" not in page, name


async def test_a_batch_of_another_account_is_not_there(start_web: StartWeb) -> None:
    web = await start_web()
    async with web.with_key(None) as one, web.with_key(None) as two:
        owner, other = Browser(web, one), Browser(web, two)
        await owner.sign_in(web.key)
        key = await web.gateway.ledger.accounts.create_key("other")
        await other.sign_in(key.secret)
        address = (await owner.upload("a.jsonl", lines(1))).headers["location"]
        made = await one.post(address, data={"csrf": await owner.token()})
        batch = made.headers["location"]
        token = {"csrf": await other.token()}
        assert (await two.get(batch)).status_code == 404
        assert (await two.get(address)).status_code == 404
        assert (await two.post(f"{batch}/cancel", data=token)).status_code == 404
        assert "row-batch_" not in (await two.get("/")).text
