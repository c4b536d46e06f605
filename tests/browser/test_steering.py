"""Steering batches: pause and resume, retry what failed, find, delete."""

from __future__ import annotations

import re

from tests.browser.conftest import MakeVisitor
from tests.support.browser.files import good_file
from tests.support.e2e.suite import Suite


def test_a_batch_is_paused_and_goes_on(visit: MakeVisitor, suite: Suite, key: str) -> None:
    from playwright.sync_api import expect

    suite.reset_sandbox(batch_seconds=3600)
    visitor = visit()
    page = visitor.page
    visitor.sign_in(key)
    visitor.upload("tickets.jsonl", good_file(6, {}))
    visitor.create()
    visitor.expect_state("In progress")
    page.get_by_role("button", name="Pause").click()
    visitor.expect_state("Paused")
    expect(page.get_by_text("Paused since")).to_be_visible()
    # Once, and its time in the browser's zone.
    expect(page.locator("[data-live=notes] .note")).to_have_count(1)
    expect(page.get_by_text("UTC")).to_have_count(0)
    # Another tab resumes it; this one sees that without being loaded again.
    other = visitor.new_page()
    other.goto(page.url)
    other.get_by_role("button", name="Resume").click()
    visitor.expect_state("In progress")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_what_failed_is_retried_by_cause(visit: MakeVisitor, suite: Suite, key: str) -> None:
    from playwright.sync_api import expect

    faults = [
        {"kind": "line", "outcome": "invalid", "provider": provider, "count": 2}
        for provider in ("anthropic", "gemini")
    ]
    suite.reset_sandbox(faults=faults)
    visitor = visit()
    page = visitor.page
    visitor.sign_in(key)
    visitor.upload("tickets.jsonl", good_file(30, {}))
    parent = visitor.create()
    visitor.expect_state("Completed")
    causes = page.get_by_role("list", name="Causes").get_by_role("listitem")
    expect(causes).to_have_count(2)
    page.get_by_role("link", name="Retry").click()
    expect(page.get_by_text("All 4 of them")).to_be_visible()
    page.get_by_role("checkbox").first.check()
    page.get_by_label("Max cost in USD").fill("1")
    page.get_by_role("button", name="Retry").click()
    page.wait_for_url(re.compile(r"/batches/batch_"))
    visitor.expect_state("Completed")
    child = page.url.removeprefix(visitor.base)
    assert child != parent
    expect(page.get_by_text("Retries lines of")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="Succeeded")).to_contain_text("2")
    visitor.go(parent)
    merged = visitor.save("results with their newest answers").read_text().splitlines()
    assert len(merged) == 30
    assert sum('"status_code":200' in each.replace(" ", "") for each in merged) == 28
    page.get_by_role("link", name=child.rpartition("/")[2]).click()
    page.wait_for_url(f"**{child}")
    # Without a cause that is chosen, what is left of all of them.
    visitor.go(f"{parent}/retry")
    page.get_by_role("button", name="Retry").click()
    page.wait_for_url(re.compile(r"/batches/batch_"))
    visitor.expect_state("Completed")
    expect(page.get_by_role("row").filter(has_text="Succeeded")).to_contain_text("2")
    visitor.go(f"{parent}/retry")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("alert")).to_be_visible()


def test_batches_are_found_by_name_metadata_and_state_and_deleted(
    visit: MakeVisitor, suite: Suite, key: str
) -> None:
    from playwright.sync_api import expect

    visitor = visit()
    page = visitor.page
    visitor.sign_in(key)
    for name in ("Steered nightly", "Steered weekly"):
        visitor.upload("tickets.jsonl", good_file(3, {}))
        page.get_by_label("Name", exact=True).fill(name)
        batch = visitor.create()
        visitor.expect_state("Completed")
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
    with suite.client(key) as client:
        file = client.upload(good_file(3, {}))
        tagged = client.create_batch(file.id, metadata={"team": 'the "search" team'})
        client.wait(tagged.id)
    visitor.go("/")
    search = page.get_by_role("searchbox")
    rows = page.get_by_role("row")
    for asked, found in {
        "steered": ["Steered weekly", "Steered nightly"],
        "Nightly STEERED": ["Steered nightly"],
        'team="the "': [],
        tagged.id: None,
    }.items():
        search.fill(asked)
        search.press("Enter")
        if found is None:
            page.wait_for_url(f"**/batches/{tagged.id}")
        elif found:
            expect(rows).to_have_count(len(found) + 1)
            expect(rows.get_by_role("rowheader")).to_contain_text(found)
        else:
            expect(page.get_by_role("heading", name="No batch is found by this")).to_be_visible()
    visitor.go("/")
    search.fill("steered")
    search.press("Enter")
    page.get_by_role("link", name="Completed").click()
    page.wait_for_url(re.compile("state=completed"))
    expect(rows).to_have_count(3)
    page.get_by_role("link", name="Expired").click()
    expect(page.get_by_role("heading", name="No batch is found by this")).to_be_visible()
    # Deleted, it is found no more.
    visitor.go(batch)
    page.get_by_role("link", name="Delete").click()
    expect(page.get_by_role("heading", name="Delete this batch?")).to_be_visible()
    page.get_by_role("button", name="Delete the batch").click()
    page.wait_for_url(f"{visitor.base}/")
    search.fill("steered")
    search.press("Enter")
    expect(rows).to_have_count(2)
    visitor.go(batch)
    expect(page.get_by_role("heading", level=1)).to_have_text("Not found")


def test_options_are_asked_for_and_shown(visit: MakeVisitor, suite: Suite, key: str) -> None:
    from playwright.sync_api import expect

    visitor = visit()
    page = visitor.page
    visitor.sign_in(key)
    visitor.upload("tickets.jsonl", good_file(60, {}))
    page.get_by_text("More options").click()
    page.get_by_label("Priority").select_option("High")
    page.get_by_label("Try first, lines of each model").fill("2")
    page.get_by_label("Stop above, percent of failures").fill("12.5%")
    page.get_by_label("Rescue before the window closes").select_option("2 hours before")
    page.get_by_label("Reuse answers to equal requests").select_option("Within this batch")
    visitor.create()
    visitor.expect_state("Completed")
    details = page.locator("[data-live=details]")
    # Three questions, and three models: each line is like another.
    for text in (
        *("Priority", "high", "2 lines of each model, passed", "12.5% of failures"),
        *("2 h before the window closes", "57 lines"),
    ):
        expect(details).to_contain_text(text)
