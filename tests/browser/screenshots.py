"""`make screenshots`: a picture of each page in light and dark, from this machine's Chromium.

Starts a suite of its own on the sandbox and brings about what the pictures show. What the pages
promise is tried in the tests beside this file.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect

from tests.support.browser.files import REFUSED, bad_file, good_file, large_file
from tests.support.browser.other_site import OtherSite, running_other_site
from tests.support.browser.relay import relay_to
from tests.support.browser.small_png import small_png
from tests.support.browser.visitor import (
    MISSING,
    PHONE,
    Visitor,
    chromium,
    running_browser,
)
from tests.support.e2e.suite import ROOT, Suite, running_suite

PICTURES = ROOT / "docs/images"
MEGABYTE = 1 << 20
# Of what is spent on each of the days before today, in percent of today's.
DAYS = (64, 81, 22, 18, 75, 92, 70, 88, 30, 12, 97, 83)


class Camera(Visitor):
    """A visitor who takes pictures."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Without the policy of the dashboard's pages, which is in the way.
        self.workshop = self.browser.new_page()

    def picture(self, name: str, *, whole: bool = True) -> None:
        """In light and dark; `whole`: with what lies under the window's edge."""
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            suffix = "" if scheme == "light" else "-dark"
            taken = self.page.screenshot(full_page=whole)
            (PICTURES / f"{name}{suffix}.png").write_bytes(small_png(self.workshop, taken))
        self.page.emulate_media(color_scheme="light")

    def make(self, name: str, content: bytes) -> str:
        """A batch of a file; returns its path."""
        self.upload(name, content)
        return self.create()


def spread(data: Path) -> None:
    """Give today's usage a past, so that the charts of the pictures have something to show."""
    with closing(sqlite3.connect(data / "ledger.sqlite3", timeout=20)) as ledger:
        rows = ledger.execute("SELECT * FROM usage").fetchall()
        names = [each[1] for each in ledger.execute("PRAGMA table_info(usage)")]
        today = datetime.now(UTC).date()
        for before, percent in enumerate(DAYS, 1):
            for row in rows:
                values = dict(zip(names, row, strict=True))
                values["day"] = str(today - timedelta(days=before))
                values["shard_id"] = f"{values['shard_id']}-{before}"
                for name, value in values.items():
                    if isinstance(value, int):
                        values[name] = value * percent // 100
                marks = ", ".join("?" * len(names))
                ledger.execute(f"INSERT INTO usage VALUES ({marks})", list(values.values()))
        ledger.commit()


def uploading(camera: Camera, suite: Suite, key: str, folder: Path) -> None:
    """Half-way, with a bad line that was found."""
    path = folder / "tickets-of-the-year.jsonl"
    with path.open("wb") as file:
        file.writelines(large_file(48 * MEGABYTE))
    with relay_to(int(suite.ready["web"].rpartition(":")[2])) as relay:
        relay.allow(24 * MEGABYTE)
        there = Camera(camera.browser, relay.base)
        there.sign_in(key)
        there.go("/new")
        there.page.set_input_files("#file", path)
        there.page.get_by_role("button", name="Upload and check").click()
        expect(there.page.get_by_role("region", name="Bad lines so far")).to_be_visible()
        expect(there.page.locator("#sending-text")).to_contain_text("waiting for the server")
        there.picture("uploading", whole=False)
        there.page.get_by_role("button", name="Cancel").click()
        there.context.close()


def story(browser: Browser, suite: Suite, site: OtherSite, folder: Path) -> None:
    key = Path(suite.ready["api_key_file"]).read_text().strip()
    camera = Camera(browser, suite.ready["web"], viewport={"width": 1200, "height": 720})
    page = camera.page
    camera.go("/")
    camera.picture("sign-in", whole=False)
    camera.sign_in(key)
    camera.picture("first-batch", whole=False)
    camera.make_endpoint(site.hook, "Ticket triage")
    for month, count in (("july", 240), ("august", 180), ("september", 420)):
        camera.make(f"tickets-{month}.jsonl", good_file(count, {}))
        camera.expect_state("Completed")
    camera.upload("tickets-october.jsonl", bad_file())
    camera.picture("bad-lines")
    page.get_by_label("Leave out lines that cannot be sent").check()
    camera.create()
    camera.expect_state("Completed")
    uploading(camera, suite, key, folder)
    camera.upload(
        "tickets-november.jsonl", good_file(600, dict.fromkeys((17, 40, 41, 300), REFUSED))
    )
    camera.picture("estimate")
    page.get_by_label("Max cost in USD").fill("5")
    ended = camera.create()
    camera.expect_state("Completed")
    expect(page.get_by_role("link", name="Results")).to_be_visible()
    camera.picture("batch")
    camera.go(f"{ended}/retry")
    camera.picture("retry", whole=False)
    camera.go(f"{ended}/lines/18")
    camera.picture("line")
    # Two providers answer, and the third cannot be reached.
    away = {"kind": "status", "status": 503, "provider": "gemini", "path": "/batches/"}
    suite.reset_sandbox(faults=[away])
    running = camera.make("translations-nightly.jsonl", good_file(900, {}))
    expect(page.locator("[data-name=percent]")).to_have_text("66.6%", timeout=30_000)
    expect(page.get_by_text("answer 503")).to_be_visible(timeout=30_000)
    camera.picture("batch-running")
    suite.sandbox("/sandbox/config", {"batch_seconds": 3600})
    camera.make("escalations.jsonl", good_file(900, {}))
    camera.expect_state("In progress")
    spread(suite.data_dir)
    for name, path in {
        "batches": "/",
        "usage": "/usage?days=30",
        "keys": "/keys",
        "webhooks": "/webhooks",
        "providers": "/providers",
    }.items():
        camera.go(path)
        camera.picture(name)
    page.set_viewport_size(PHONE)
    for name, path in {"batches-phone": "/", "batch-phone": running}.items():
        camera.go(path)
        camera.picture(name, whole=False)
    suite.reset_sandbox()


def main() -> int:
    if chromium() is None:
        print(MISSING, file=sys.stderr)
        return 1
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {"POLYBATCH_WEB_LISTEN": "127.0.0.1:0", "GEMINI_API_KEY": "sandbox-gemini"}
        with (
            running_suite(folder / "suite", **settings) as suite,
            running_other_site() as site,
            running_browser() as browser,
        ):
            suite.reset_sandbox()
            story(browser, suite, site, folder)
    print(f"{len(list(PICTURES.glob('*.png')))} pictures in {PICTURES.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
