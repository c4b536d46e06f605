"""Uploads from a browser whose connection breaks, that is loaded again, that is told to stop."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import MakeVisitor
from tests.support.browser.files import large_file
from tests.support.browser.relay import Relay, relay_to
from tests.support.e2e.suite import Suite

if TYPE_CHECKING:
    from tests.support.browser.visitor import Visitor

MEGABYTE = 1 << 20


@pytest.fixture
def relay(suite: Suite) -> Iterator[Relay]:
    with relay_to(int(suite.ready["web"].rpartition(":")[2])) as relay:
        yield relay


def begin(visitor: Visitor, path: Path) -> None:
    visitor.page.set_input_files("#file", path)
    visitor.page.get_by_role("button", name="Upload and check").click()


def test_an_upload_survives_a_break_and_a_reload(
    visit: MakeVisitor, relay: Relay, key: str, tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    path = tmp_path / "<b>tickets.jsonl"
    with path.open("wb") as file:
        file.writelines(large_file(40 * MEGABYTE))
    visitor = visit(relay.base)
    visitor.sign_in(key)
    offsets: list[int] = []
    visitor.page.on(
        "request",
        lambda asked: (
            offsets.append(int(asked.headers["upload-offset"])) if asked.method == "PATCH" else None
        ),
    )
    page, text = visitor.page, visitor.page.locator("#sending-text")
    visitor.go("/new")
    relay.allow(16 * MEGABYTE)
    begin(visitor, path)
    # While it uploads: line, field and reason.
    found = page.get_by_role("region", name="Bad lines so far")
    expect(found.get_by_role("row").nth(1)).to_contain_text("body.model")
    expect(found.get_by_role("row").nth(1).get_by_role("cell").first).to_have_text("1")
    expect(text).to_contain_text("of 4")
    relay.cut()
    expect(text).to_contain_text("The connection is away")
    relay.mend()
    relay.allow(8 * MEGABYTE)
    expect(text).not_to_contain_text("The connection is away")
    # What the server has, it is not sent again; nor after the page was loaded anew.
    page.reload()
    expect(page.get_by_text("These were not finished")).to_be_visible()
    expect(page.locator("#unfinished li")).to_contain_text("<b>tickets.jsonl")
    relay.allow(1 << 40)
    begin(visitor, path)
    page.wait_for_url(re.compile(r"/new/file_"), timeout=60_000)
    expect(page.get_by_role("heading", level=1)).to_have_text("<b>tickets.jsonl")
    expect(page.get_by_role("alert")).to_contain_text("1 of ")
    assert offsets[0] == 0
    assert len(offsets) >= 3
    assert all(offset >= 8 * MEGABYTE for offset in offsets[1:])
    visitor.go("/new")
    expect(page.locator("#unfinished")).to_be_hidden()


def test_a_cancelled_upload_leaves_nothing(
    visit: MakeVisitor, relay: Relay, key: str, tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    path = tmp_path / "tickets.jsonl"
    with path.open("wb") as file:
        file.writelines(large_file(20 * MEGABYTE))
    visitor = visit(relay.base)
    visitor.sign_in(key)
    visitor.go("/new")
    relay.allow(12 * MEGABYTE)
    begin(visitor, path)
    page = visitor.page
    expect(page.get_by_role("region", name="Bad lines so far")).to_be_visible()
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as deleted:
        page.get_by_role("button", name="Cancel").click()
    assert deleted.value.status == 200
    expect(page.get_by_role("alert")).to_have_text("Cancelled. Nothing was kept.")
    left = page.evaluate("async (at) => (await fetch(at)).json()", deleted.value.url)
    assert left["offset"] == 0
    assert page.evaluate("localStorage.length") == 0


def peak(pid: int) -> int:
    """Bytes of memory that a process has had at the most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) * 1024


def chromium_processes() -> list[int]:
    """Of this test's browser and of any other."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if b"chrom" in path.read_bytes()[:80]:
                found.append(int(path.parent.name))
    return found


def test_memory_stays_flat_in_browser_and_server(
    visit: MakeVisitor, suite: Suite, key: str, tmp_path: Path
) -> None:
    path = tmp_path / "tickets.jsonl"
    with path.open("wb") as file:
        file.writelines(large_file(400 * MEGABYTE))
    visitor = visit()
    visitor.sign_in(key)
    visitor.go("/new")
    before = {pid: peak(pid) for pid in chromium_processes()}
    web = peak(suite.ready["pids"]["web"])
    begin(visitor, path)
    visitor.page.wait_for_url(re.compile(r"/new/file_"), timeout=120_000)
    grown = {pid: peak(pid) - before[pid] for pid in chromium_processes() if pid in before}
    assert max(grown.values()) < 100 * MEGABYTE
    assert peak(suite.ready["pids"]["web"]) - web < 40 * MEGABYTE
