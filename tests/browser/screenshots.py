"""`make screenshots`: the dashboard's story in this machine's Chromium, a picture of each page.

Starts a suite of its own on the sandbox, signs in, uploads a file with bad lines and a good one,
watches a batch to its end without loading the page again, and looks at every page in light, dark
and on a phone. Fails where the browser reports an error, asks another host, runs what a file or a
line holds, or where axe finds a barrier. Then the same without JavaScript, by keyboard.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs/images"
START_SECONDS = 90
DESK, PHONE = {"width": 1200, "height": 780}, {"width": 390, "height": 844}
HOSTILE = "<img src=x onerror=alert(1)>"
AXE = Axe()
MODELS = ("openai/gpt-4.1-mini", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash")
QUESTIONS = (
    "The invoice of October lists the licence twice. What should I answer?",
    "Summarise this ticket in one sentence: the export stops at 65,536 rows.",
    "Which team owns this: 'Password reset mails arrive a day late'?",
)


def request(number: int, text: str = "") -> dict[str, Any]:
    return {
        "custom_id": f"ticket-{4100 + number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": MODELS[number % 3],
            "messages": [{"role": "user", "content": text or QUESTIONS[number % 3]}],
            "max_tokens": 200,
        },
    }


def good_file() -> bytes:
    fates = {17: "[[sandbox:error=invalid]]", 40: "[[sandbox:error=invalid]]", 5: HOSTILE}
    lines = [request(number, fates.get(number, "")) for number in range(600)]
    return "".join(json.dumps(each) + "\n" for each in lines).encode()


def bad_file() -> bytes:
    lines: list[dict[str, Any]] = [request(number) for number in range(40)]
    del lines[11]["body"]["model"]
    lines[23]["custom_id"] = lines[22]["custom_id"]
    lines[31]["body"]["max_tokens"] = "many"
    return "".join(json.dumps(each) + "\n" for each in lines).encode() + b"{not json\n"


class Story:
    """One browser's way through the pages."""

    def __init__(self, browser: Browser, base: str) -> None:
        self.base = base
        self.troubles: list[str] = []
        self.page: Page = browser.new_context(viewport=DESK, color_scheme="light").new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("dialog", lambda dialog: self.troubles.append(f"ran: {dialog.message}"))
        self.page.on(
            "console",
            lambda line: self.troubles.append(line.text) if line.type == "error" else None,
        )
        self.page.on("request", lambda request: self._check_host(request.url))

    def _check_host(self, url: str) -> None:
        if not url.startswith(self.base):
            self.troubles.append(f"asked another host: {url}")

    def picture(self, name: str) -> None:
        """In light and dark, without a barrier in either."""
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            for found in AXE.run(self.page).response["violations"]:
                places = [node["target"] for node in found["nodes"][:3]]
                self.troubles.append(f"{name}, {scheme}: {found['id']}: {found['help']} {places}")
            suffix = "" if scheme == "light" else "-dark"
            self.page.screenshot(path=PICTURES / f"{name}{suffix}.png", full_page=True)
        self.page.emulate_media(color_scheme="light")

    def go(self, path: str) -> None:
        self.page.goto(self.base + path)

    def upload(self, name: str, content: bytes) -> None:
        self.go("/new")
        self.page.set_input_files(
            "#file", {"name": name, "mimeType": "application/jsonl", "buffer": content}
        )
        self.page.get_by_role("button", name="Upload and check").click()
        self.page.wait_for_url(re.compile(r"/new/file_"))

    def run(self, key: str) -> None:
        page = self.page
        self.go("/")
        self.picture("sign-in")
        page.fill("#key", key)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="The first batch")).to_be_visible()
        self.picture("first-batch")
        self.go("/new")
        self.picture("new-batch")
        self.upload(f"{HOSTILE}.jsonl", bad_file())
        expect(page.get_by_role("alert")).to_contain_text("cannot be sent")
        self.upload("tickets-october.jsonl", bad_file())
        self.picture("bad-lines")
        page.get_by_label("Leave out lines that cannot be sent").check()
        page.get_by_role("button", name="Create the batch").click()
        self.upload("tickets-november.jsonl", good_file())
        self.picture("estimate")
        page.get_by_label("Max cost in USD").fill("5")
        page.get_by_role("button", name="Create the batch").click()
        page.wait_for_url(re.compile(r"/batches/batch_"))
        batch = page.url.removeprefix(self.base)
        # By events alone: the page is not loaded again.
        state = page.locator("[data-live=state]")
        expect(state).to_contain_text("In progress")
        self.picture("batch-running")
        expect(state).to_contain_text("Completed", timeout=60_000)
        expect(page.get_by_role("link", name="Results")).to_be_visible()
        self.picture("batch")
        with page.expect_download() as saved:
            page.get_by_role("link", name="Results").click()
        assert Path(saved.value.path()).read_text().count("\n") == 600
        page.get_by_role("link", name=re.compile("^Line 18")).click()
        self.picture("line")
        self.go(f"{batch}/lines/6")
        for name, path in {
            "batches": "/",
            "usage": "/usage?days=7",
            "keys": "/keys",
            "webhooks": "/webhooks",
            "providers": "/providers",
        }.items():
            self.go(path)
            self.picture(name)
        page.set_viewport_size(PHONE)
        for name, path in {"batches-phone": "/", "batch-phone": batch}.items():
            self.go(path)
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > PHONE["width"]:
                self.troubles.append(f"{name} is {width} pixels wide")
            self.picture(name)
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(re.compile("/sign-in"))


def without_scripts(browser: Browser, base: str, key: str) -> None:
    """A batch is made, found and cancelled by forms and links alone, with the keyboard."""
    page = browser.new_context(java_script_enabled=False, viewport=DESK).new_page()
    page.set_default_timeout(20_000)
    page.goto(base)
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    page.get_by_role("link", name="New batch").press("Enter")
    page.set_input_files(
        "#file", {"name": "plain.jsonl", "mimeType": "application/jsonl", "buffer": good_file()}
    )
    page.get_by_role("button", name="Upload and check").press("Enter")
    page.get_by_role("button", name="Create the batch").press("Enter")
    expect(page.get_by_role("heading", name="plain.jsonl")).to_be_visible()
    page.get_by_role("link", name="Cancel").press("Enter")
    page.get_by_role("button", name="Cancel the batch").press("Enter")
    expect(page.locator("[data-live=state]")).to_contain_text(re.compile("Cancell"))


def main() -> int:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("Chromium is missing; on Debian: apt-get install chromium", file=sys.stderr)
        return 1
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.json"
        suite = subprocess.Popen(
            [
                *(sys.executable, "-m", "services.supervisor", "--sandbox", "--ports", "auto"),
                *("--ready-file", str(ready), "--log-dir", folder),
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "POLYBATCH_DATA_DIR": str(Path(folder) / "data"),
                "POLYBATCH_SANDBOX_BATCH_SECONDS": "8",
            },
            stdout=subprocess.DEVNULL,
        )
        try:
            deadline, pause = time.monotonic() + START_SECONDS, threading.Event()
            while not ready.exists():
                if suite.poll() is not None or time.monotonic() > deadline:
                    print(f"The suite did not start: see {folder}", file=sys.stderr)
                    return 1
                pause.wait(0.1)
            found = json.loads(ready.read_text())
            key = Path(found["api_key_file"]).read_text().strip()
            with sync_playwright() as playwright:
                # As root Chromium has no sandbox of its own.
                options = ["--no-sandbox"] if os.geteuid() == 0 else []
                browser = playwright.chromium.launch(executable_path=chromium, args=options)
                story = Story(browser, found["web"])
                story.run(key)
                without_scripts(browser, found["web"], key)
                browser.close()
        finally:
            suite.send_signal(signal.SIGTERM)
            suite.wait(60)
    for trouble in story.troubles:
        print(trouble, file=sys.stderr)
    print(f"{len(list(PICTURES.glob('*.png')))} pictures in {PICTURES.relative_to(ROOT)}")
    return 1 if story.troubles else 0


if __name__ == "__main__":
    sys.exit(main())
