"""Every page: without barriers in either theme, and on a phone's width."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import MakeVisitor
from tests.support.browser.files import REFUSED, bad_file, good_file, ticket
from tests.support.browser.other_site import OtherSite
from tests.support.e2e.suite import Suite

if TYPE_CHECKING:
    from tests.support.browser.visitor import Visitor

NEVER = 3600


def pages_of(visitor: Visitor, suite: Suite, hook: str) -> dict[str, str]:
    """Brings each page's state about; returns paths by name."""
    page = visitor.page
    visitor.upload("a-file-with-bad-lines-and-a-long-name.jsonl", bad_file())
    bad = page.url.removeprefix(visitor.base)
    visitor.upload("a-table.jsonl", b"id,prompt\n1,Hello\n")
    unfit = page.url.removeprefix(visitor.base)
    visitor.upload("tickets.jsonl", good_file(12, {3: REFUSED, 7: REFUSED}))
    good = page.url.removeprefix(visitor.base)
    ended = visitor.create()
    visitor.expect_state("Completed")
    suite.reset_sandbox(batch_seconds=NEVER)
    visitor.upload("tickets-that-run.jsonl", good_file(6, {}))
    running = visitor.create()
    visitor.expect_state("In progress")
    visitor.make_endpoint(hook)
    rotate = page.get_by_role("link", name=re.compile("^Rotate the secret")).get_attribute("href")
    visitor.go("/keys")
    key = page.get_by_role("link", name=re.compile("^Revoke ")).first.get_attribute("href")
    assert rotate is not None
    assert key is not None
    return {
        "batches": "/",
        "batches found": "/?q=tickets&state=completed",
        "nothing found": "/?q=nothing-has-this-name&state=expired",
        "new batch": "/new",
        "bad lines": bad,
        "a file without lines": unfit,
        "no page": "/nope",
        "estimate": good,
        "a batch that has ended": ended,
        "a batch that runs": running,
        "cancel": f"{running}/cancel",
        "retry": f"{ended}/retry",
        "delete": f"{ended}/delete",
        "line": f"{ended}/lines/4",
        "usage": "/usage?days=7",
        "usage by key": "/usage?by=key",
        "keys": "/keys",
        "revoke": key,
        "webhooks": "/webhooks",
        "rotate": rotate,
        "delete an endpoint": rotate.replace("rotate", "delete"),
        "providers": "/providers",
        "what is not there": f"/batches/batch_{'0' * 20}",
    }


# Axe takes a second for a page.
@pytest.mark.timeout(400)
def test_no_page_has_a_barrier_or_is_too_wide(
    visit: MakeVisitor, suite: Suite, key: str, other_site: OtherSite
) -> None:
    from tests.support.browser.visitor import PHONE

    visitor = visit()
    visitor.go("/sign-in")
    found = visitor.barriers()
    visitor.sign_in(key)
    paths = pages_of(visitor, suite, other_site.hook)
    for path in paths.values():
        visitor.go(path)
        found += visitor.barriers("dark")
    visitor.page.set_viewport_size(PHONE)
    for name, path in {"sign in": "/sign-in", **paths}.items():
        visitor.go(path)
        if wider := visitor.overflow():
            found.append(f"{name} is {wider} pixels too wide")
        found += visitor.barriers("light")
    assert not found, "\n".join(found)


def test_long_metadata_leaves_room_for_its_value(
    visit: MakeVisitor, suite: Suite, key: str
) -> None:
    from tests.support.browser.visitor import DESK, PHONE

    visitor = visit()
    visitor.sign_in(key)
    with suite.client(key) as client:
        batch = client.submit([ticket(0)], metadata={"k" * 64: "v" * 512})
    for size in (DESK, PHONE):
        visitor.page.set_viewport_size(size)
        visitor.go(f"/batches/{batch.id}")
        visitor.expect_state("Completed")
        assert visitor.overflow() == 0
        value, whole = (
            visitor.page.locator(each).bounding_box()
            for each in (".details dd:last-child", ".details")
        )
        assert value is not None
        assert whole is not None
        assert value["width"] >= whole["width"] / 2


def test_a_day_of_another_year_has_its_year(visit: MakeVisitor, suite: Suite, key: str) -> None:
    from playwright.sync_api import expect

    with suite.client(key) as client:
        batch = client.submit([ticket(0)])
        created = client.wait(batch.id, timeout=60).created_at
    assert created is not None
    for days, has_year in ((0, False), (400, True)):
        visitor = visit(timezone_id="UTC")
        visitor.page.clock.set_fixed_time(created + timedelta(days=days))
        visitor.sign_in(key)
        visitor.go(f"/batches/{batch.id}")
        steps = expect(visitor.page.locator(".steps"))
        steps.to_contain_text("Completed")
        (steps.to_contain_text if has_year else steps.not_to_contain_text)(f"{created:%Y}")


def test_a_phone_shows_the_newest_days_and_counts_one_line(
    visit: MakeVisitor, suite: Suite, key: str
) -> None:
    from tests.support.browser.visitor import PHONE

    with suite.client(key) as client:
        client.wait(client.submit([ticket(0)]).id, timeout=60)
    visitor = visit(viewport=PHONE)
    visitor.sign_in(key)
    unit = "each => getComputedStyle(each, '::after').content"
    assert visitor.page.locator("[data-name=lines]").evaluate(unit) == '" line"'
    visitor.go("/usage")
    chart = visitor.page.locator(".drawn").first
    left, right = chart.evaluate(
        "c => [c.scrollLeft, c.scrollWidth - c.scrollLeft - c.clientWidth]"
    )
    assert left > 0
    assert right < 1


def test_a_batch_that_runs_says_how_to_ask_why_lines_failed(
    visit: MakeVisitor, suite: Suite, key: str
) -> None:
    from playwright.sync_api import expect

    suite.reset_sandbox(batch_seconds=3600)
    with suite.client(key) as client:
        made = client.submit([ticket(0), {"custom_id": "bad"}], skip_invalid_lines=True)
        visitor = visit()
        visitor.sign_in(key)
        visitor.go(f"/batches/{made.id}")
        why = f"polybatch failures {made.id} --by-cause --partial"
        expect(visitor.page.get_by_text(why)).to_be_visible()
        client.cancel_batch(made.id)
