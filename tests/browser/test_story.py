"""What people do with the dashboard, from signing in to the bill: by mouse, by keyboard alone, and
without scripts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser.conftest import MakeVisitor
from tests.support.browser.files import REFUSED, bad_file, good_file
from tests.support.browser.other_site import OtherSite
from tests.support.e2e.suite import Suite, wait_for

if TYPE_CHECKING:
    from tests.support.browser.visitor import Visitor

FATES = {3: REFUSED, 7: REFUSED}


def test_by_mouse(visit: MakeVisitor, suite: Suite, key: str) -> None:
    from playwright.sync_api import expect

    visitor = visit()
    page = visitor.page
    visitor.go("/usage")
    page.get_by_label("API key").fill("pb_not-a-key")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/usage")
    page.get_by_role("link", name="Batches").click()
    page.get_by_role("link", name="New batch").click()
    sample = visitor.save("chat-completions.jsonl").read_bytes()
    assert json.loads(sample.splitlines()[0])["custom_id"]
    # A bad file is told of, line by line; mended, it goes.
    visitor.upload("tickets.jsonl", bad_file())
    expect(page.get_by_role("alert")).to_contain_text("4 of 41 lines cannot be sent")
    row = page.get_by_role("row").filter(has_text="body.max_tokens")
    expect(row).to_contain_text("ticket-4131")
    report = visitor.save("Download the whole report").read_text().splitlines()
    assert [json.loads(each)["line"] for each in report] == [12, 24, 32, 41]
    page.get_by_role("link", name="upload the file again").click()
    visitor.choose("tickets.jsonl", good_file(12, FATES))
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_role("heading", name="Estimate")).to_be_visible()
    page.get_by_label("Name", exact=True).fill("Tickets of November")
    page.get_by_label("Max cost in USD").fill("much")
    page.get_by_role("button", name="Create the batch").click()
    expect(page.get_by_role("alert")).to_contain_text("such as 12.50")
    page.get_by_label("Max cost in USD").fill("5")
    batch = visitor.create()
    # By events alone: the page is not loaded again.
    visitor.expect_state("Completed")
    expect(page.get_by_role("heading", level=1)).to_have_text("Tickets of November")
    expect(page.get_by_role("heading", level=1)).to_have_text("Tickets of November")
    for name, lines in {"Results": 12, "Failed lines": 2}.items():
        assert visitor.save(name).read_text().count("\n") == lines
    manifest = json.loads(visitor.save("Manifest").read_text())
    assert manifest["batch_id"] == batch.rpartition("/")[2]
    causes = page.get_by_role("list", name="Causes")
    expect(causes).to_contain_text("The sandbox was asked to refuse this request")
    page.get_by_role("link", name=re.compile("^Line 4:")).click()
    expect(page.locator(".sides section").first).to_contain_text("ticket-4103")
    expect(page.locator(".sides section").last).to_contain_text("refuse this request")
    page.get_by_role("link", name="Tickets of November").click()
    page.get_by_role("link", name="Retry").click()
    page.get_by_role("button", name="Retry").click()
    page.wait_for_url(lambda url: "/batches/batch_" in url and not url.endswith("/retry"))
    visitor.expect_state("Completed")
    expect(page.get_by_role("row").filter(has_text="Failed").first).to_contain_text("2")
    page.get_by_role("link", name="Usage").click()
    expect(page.get_by_role("img", name=re.compile("^Cost by day"))).to_be_visible()
    expect(page.get_by_role("heading", name="Time at the provider, by model")).to_be_visible()
    expect(page.get_by_role("heading", name=re.compile("^Failures by cause"))).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    visitor.go(batch)
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_batch_that_runs_is_cancelled(visit: MakeVisitor, suite: Suite, key: str) -> None:
    from playwright.sync_api import expect

    suite.reset_sandbox(batch_seconds=3600)
    visitor = visit()
    visitor.sign_in(key)
    visitor.upload("tickets.jsonl", good_file(6, {}))
    visitor.create()
    visitor.expect_state("In progress")
    # Another tab sees it end in the list, by events alone.
    other = visitor.new_page()
    other.goto(visitor.base)
    expect(other.get_by_role("row").nth(1)).to_contain_text("In progress")
    page = visitor.page
    page.get_by_role("link", name="Cancel").click()
    page.get_by_role("link", name="Let it run").click()
    visitor.expect_state("In progress")
    page.get_by_role("link", name="Cancel").click()
    page.get_by_role("button", name="Cancel the batch").click()
    visitor.expect_state("Cancelled")
    expect(other.get_by_role("row").nth(1)).to_contain_text("Cancelled")
    assert visitor.save("Results").read_text().count("\n") == 6


def test_by_keyboard_alone(visit: MakeVisitor, suite: Suite, key: str) -> None:
    from playwright.sync_api import expect

    from tests.support.browser.keyboard import Keyboard

    visitor = visit(color_scheme="dark")
    page, keys = visitor.page, Keyboard(visitor.page)
    # Playwright has Chromium report file choosers from the first listener on, without waiting
    # until it does: a key that follows at once may be faster.
    page.on("filechooser", lambda _: None)
    visitor.go("/")
    # The field has the focus from the beginning.
    page.keyboard.type(key)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{visitor.base}/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    keys.press("New batch")
    page.wait_for_url("**/new")
    keys.to("Choose a JSONL file")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    content = good_file(12, FATES)
    chooser.value.set_files({"name": "keys.jsonl", "mimeType": "", "buffer": content})
    keys.press("Upload and check")
    page.wait_for_url(re.compile("/new/file_"))
    keys.type("Name", "By keyboard")
    keys.press("Leave out lines that cannot be sent", "Space")
    keys.press("Create the batch")
    page.wait_for_url(re.compile("/batches/"))
    visitor.expect_state("Completed")
    with page.expect_download() as saved:
        keys.press("Results")
    assert Path(saved.value.path()).read_text().count("\n") == 12
    keys.press("Line 4: request and answer")
    expect(page.get_by_role("heading", level=1)).to_have_text("Line 4")
    keys.press("Next")
    expect(page.get_by_role("heading", level=1)).to_have_text("Line 5")
    keys.press("Usage")
    page.wait_for_url("**/usage")
    keys.press("7 days")
    page.wait_for_url("**/usage?days=7*")
    keys.press("Sign out")
    page.wait_for_url("**/sign-in")


def test_without_scripts(visit: MakeVisitor, suite: Suite, key: str, other_site: OtherSite) -> None:
    """By forms and links alone; what is live is seen when a page is loaded again."""
    from playwright.sync_api import expect

    visitor = visit(java_script_enabled=False)
    page = visitor.page
    visitor.sign_in(key)
    visitor.upload("plain.jsonl", bad_file())
    expect(page.get_by_role("alert")).to_contain_text("cannot be sent")
    visitor.upload("plain.jsonl", good_file(12, FATES))
    page.get_by_label("Name", exact=True).fill("Without scripts")
    batch = visitor.create()

    def ended() -> bool:
        visitor.go(batch)
        return page.get_by_role("link", name="Results").is_visible()

    wait_for(ended, "the end of the batch")
    assert visitor.save("Results").read_text().count("\n") == 12
    page.get_by_role("link", name=re.compile("^Line 4:")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Line 4")
    page.get_by_role("link", name="Usage").click()
    page.get_by_role("link", name="By provider").click()
    expect(page.get_by_role("row").filter(has_text="anthropic")).to_be_visible()
    # The secret of an endpoint is saved, and the page stays.
    visitor.go("/webhooks")
    page.get_by_label("Address").fill(other_site.hook)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Create and save its secret").click()
    assert Path(saved.value.path()).read_text().startswith("whsec_")
    visitor.go("/webhooks")
    delete_endpoint(visitor, other_site.hook)
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")


def delete_endpoint(visitor: Visitor, url: str) -> None:
    """And see that it is gone."""
    from playwright.sync_api import expect

    page = visitor.page
    page.get_by_role("link", name=f"Delete {url}").click()
    page.get_by_role("button", name="Delete the endpoint").click()
    expect(page.get_by_role("link", name=f"Delete {url}")).to_have_count(0)


def test_webhooks_are_made_rotated_tested_and_deleted(
    visit: MakeVisitor, suite: Suite, key: str, other_site: OtherSite
) -> None:
    from playwright.sync_api import expect
    from standardwebhooks import Webhook

    visitor = visit()
    page = visitor.page
    visitor.sign_in(key)
    visitor.go("/webhooks")
    page.get_by_label("Address").fill("ftp://example.com/")
    page.get_by_role("button", name="Create and save its secret").click()
    expect(page.get_by_role("alert")).to_contain_text("url")
    first = visitor.make_endpoint(other_site.hook, "Tickets")
    page.get_by_role("link", name=f"Rotate the secret of {other_site.hook}").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Make and save it").click()
    second = Path(saved.value.path()).read_text().strip()
    assert first != second
    # Stands on no page.
    expect(
        page.get_by_role("button", name=f"Send a test event to {other_site.hook}")
    ).to_be_visible()
    assert second not in page.content()
    page.get_by_role("button", name=f"Send a test event to {other_site.hook}").click()
    wait_for(lambda: bool(other_site.calls), "the test event")
    headers, body = other_site.calls[0]
    for secret in (first, second):
        assert Webhook(secret).verify(body, headers)

    def delivered() -> bool:
        visitor.go("/webhooks")
        return page.get_by_role("row").filter(has_text="Delivered").count() == 1

    wait_for(delivered, "the delivery")
    page.get_by_role("button", name=re.compile("^Send the event")).click()
    wait_for(lambda: len(other_site.calls) == 2, "the same event again")
    visitor.go("/webhooks")
    delete_endpoint(visitor, other_site.hook)
