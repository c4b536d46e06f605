"""The list of batches follows what happens, also what it was not told of."""

from __future__ import annotations

from tests.browser.conftest import MakeVisitor
from tests.support.browser.files import ticket
from tests.support.browser.relay import relay_to
from tests.support.e2e.suite import Suite


def test_the_first_batch_takes_the_place_of_what_to_do(
    visit: MakeVisitor, suite: Suite, key: str
) -> None:
    from playwright.sync_api import expect

    visitor = visit()
    visitor.sign_in(key)
    expect(visitor.page.get_by_role("heading", name="The first batch")).to_be_visible()
    with suite.client(key) as client:
        client.submit([ticket(0)], name="from a terminal")
    expect(visitor.page.get_by_role("row").nth(1)).to_contain_text("from a terminal")


def test_what_happened_while_it_was_cut_off_is_seen_behind_it(
    visit: MakeVisitor, suite: Suite, key: str
) -> None:
    from playwright.sync_api import expect

    suite.reset_sandbox(batch_seconds=3600)
    port = int(suite.ready["web"].rpartition(":")[2])
    with relay_to(port) as relay, suite.client(key) as client:
        cancelled = client.submit([ticket(0)], name="cancelled meanwhile")
        runs = client.submit([ticket(0)], name="runs on")
        visitor = visit(relay.base)
        page = visitor.page
        visitor.sign_in(key)
        filtered = visitor.new_page()
        filtered.goto(f"{relay.base}/?state=in_progress")
        for each in (page, filtered):
            expect(each.locator(f"#row-{cancelled.id}")).to_contain_text("In progress")
        relay.cut()
        client.cancel_batch(cancelled.id)
        client.wait(cancelled.id, timeout=60)
        suite.reset_sandbox()
        made = client.submit([ticket(1)], name="made meanwhile")
        client.wait(made.id, timeout=60)
        relay.mend()
        expect(page.locator(f"#row-{cancelled.id}")).to_contain_text("Cancelled", timeout=40_000)
        names = page.locator("tbody th a")
        expect(names).to_have_text(["made meanwhile", "runs on", "cancelled meanwhile"])
        # It is in that state no longer.
        expect(filtered.locator("tbody th a")).to_have_text(["runs on"], timeout=40_000)
        client.cancel_batch(runs.id)
        expect(page.locator(f"#row-{runs.id}")).to_contain_text("Cancel")


def test_a_batch_that_is_told_of_behind_a_newer_one_has_its_place(
    visit: MakeVisitor, suite: Suite, key: str
) -> None:
    from playwright.sync_api import expect

    with suite.client(key) as client:
        made = [client.submit([ticket(0)], name=name).id for name in ("old", "middle", "new")]
        for each in made:
            client.wait(each, timeout=60)
    visitor = visit()
    visitor.sign_in(key)
    names = visitor.page.locator("tbody th a")
    expect(names).to_have_text(["new", "middle", "old"])
    for at, left in ((1, ["new", "middle", "old"]), (2, ["new", "middle"])):
        visitor.page.evaluate(
            """async (at) => {
              const { row } = await import(new URL("list.js", document.scripts[0].src));
              const table = document.querySelector("table.list");
              const late = table.tBodies[0].rows[at];
              late.remove();
              row(table, late.outerHTML);
            }""",
            at,
        )
        # Older than all that this page shows: it belongs on a later one.
        expect(names).to_have_text(left)


def test_a_list_that_stays_open_does_not_grow_for_ever(
    visit: MakeVisitor, suite: Suite, key: str
) -> None:
    from playwright.sync_api import expect

    with suite.client(key) as client:
        visitor = visit()
        client.wait(client.submit([ticket(0)], name="first").id, timeout=60)
        # The page looks once at what was made before it began to listen.
        with visitor.page.expect_response(lambda answer: answer.request.resource_type == "fetch"):
            visitor.sign_in(key)
        client.wait(client.submit([ticket(0)], name="second").id, timeout=60)
        names = visitor.page.locator("tbody th a")
        expect(names).to_have_text(["second", "first"])
        expect(visitor.page.get_by_role("row").nth(1)).to_contain_text("Completed")
        # As if so many had been made since.
        visitor.page.evaluate(
            """() => {
              const body = document.querySelector("table.list").tBodies[0];
              for (let made = 0; made < 198; made += 1) {
                const row = body.rows[0].cloneNode(true);
                row.id = `row-batch_0${made}`;
                body.append(row);
              }
            }"""
        )
        expect(names).to_have_count(200)
        names.last.focus()
        client.wait(client.submit([ticket(1)], name="third").id, timeout=60)
        expect(names).to_have_text(["third", "second", "first"])
        # Its row is gone; from the top of the page the keyboard would start anew.
        expect(visitor.page.locator("#main")).to_be_focused()
