"""Somebody who goes through the dashboard in this machine's Chromium, and notes what is wrong."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

MISSING = "Chromium is missing; on Debian: apt-get install chromium"
DESK, PHONE = {"width": 1200, "height": 780}, {"width": 390, "height": 844}
# Of a connection that is cut, or a status that is looked at on purpose.
_EXPECTED = re.compile(r"net::ERR_|status of (4\d\d|5\d\d)")
_AXE = Axe()
PATIENCE = 20_000
"""Milliseconds that a page is waited for, however busy the machine; Playwright's own for what is
expected are five seconds."""
expect.set_options(timeout=PATIENCE)


def chromium() -> str | None:
    """Where it is on this machine."""
    return shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Chromium; see `chromium`."""
    with sync_playwright() as playwright:
        # As root Chromium has no sandbox of its own.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium(), args=options)
        yield browser
        browser.close()


class Visitor:
    """One browser profile: `options` are those of a context of Playwright."""

    def __init__(self, browser: Browser, base: str, **options: Any) -> None:
        self.base = base
        self.browser = browser
        self.troubles: list[str] = []
        self.scripts = options.get("java_script_enabled", True)
        self.context = browser.new_context(**({"viewport": DESK} | options))
        self.page: Page = self.new_page()

    def new_page(self) -> Page:
        """A tab of the same profile."""
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("dialog", self._ran)
        page.on("console", lambda line: self._noted(line.type, line.text))
        page.on("request", lambda request: self._asked(request.url))
        return page

    def _ran(self, dialog: Any) -> None:
        self.troubles.append(f"ran: {dialog.message}")
        dialog.dismiss()

    def _noted(self, kind: str, text: str) -> None:
        if kind == "error" and not _EXPECTED.search(text):
            self.troubles.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.base, "blob:", "data:")):
            self.troubles.append(f"asked another host: {url}")

    def go(self, path: str) -> None:
        """Load a page."""
        self.page.goto(self.base + path)

    def sign_in(self, key: str) -> None:
        """With the mouse."""
        self.go("/sign-in")
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(f"{self.base}/")

    def choose(self, name: str, content: bytes) -> None:
        """A file on the page of a new batch."""
        self.page.set_input_files(
            "#file", {"name": name, "mimeType": "application/jsonl", "buffer": content}
        )

    def upload(self, name: str, content: bytes) -> None:
        """A whole file, with the mouse."""
        self.go("/new")
        self.choose(name, content)
        self.page.get_by_role("button", name="Upload and check").click()
        self.page.wait_for_url(re.compile(r"/new/file_"))

    def create(self) -> str:
        """The batch of a file that was uploaded; returns its path."""
        self.page.get_by_role("button", name="Create the batch").click()
        self.page.wait_for_url(re.compile(r"/batches/batch_"))
        return self.page.url.removeprefix(self.base)

    def expect_state(self, word: str) -> None:
        """Wait until the batch of this page is in a state."""
        expect(self.page.locator("[data-live=state]")).to_contain_text(
            re.compile(word), timeout=60_000
        )

    def make_endpoint(self, url: str, description: str = "") -> str:
        """A webhook endpoint, with the mouse; returns its secret."""
        self.go("/webhooks")
        summary = self.page.get_by_text("Another endpoint")
        if summary.is_visible():
            summary.click()
        self.page.get_by_label("Address").fill(url)
        self.page.get_by_label("Description").fill(description)
        with self.page.expect_download() as saved:
            self.page.get_by_role("button", name="Create and save its secret").click()
        expect(self.page.get_by_role("link", name=f"Rotate the secret of {url}")).to_be_visible()
        return Path(saved.value.path()).read_text().strip()

    def save(self, name: str) -> Path:
        """Click what is saved as a file."""
        with self.page.expect_download() as saved:
            self.page.get_by_role("link", name=name, exact=True).click()
        return Path(saved.value.path())

    def barriers(self, *schemes: Any) -> list[str]:
        """What axe finds on this page, in either theme or in those that are named."""
        found = []
        for scheme in schemes or ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            for each in _AXE.run(self.page).response["violations"]:
                places = [node["target"] for node in each["nodes"][:3]]
                found.append(f"{self.page.url}, {scheme}: {each['id']}: {each['help']} {places}")
        self.page.emulate_media(color_scheme="light")
        return found

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        width: int = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return width
