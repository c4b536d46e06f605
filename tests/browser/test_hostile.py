"""What other people's files, models, providers and sites try with a browser that is signed in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import MakeVisitor
from tests.support.browser.files import HOSTILE, REFUSED, SCRIPT, ticket
from tests.support.browser.other_site import OtherSite
from tests.support.browser.relay import relay_to
from tests.support.e2e.suite import Suite

if TYPE_CHECKING:
    from tests.support.browser.visitor import Visitor

# Ends an attribute, a tag, and what a script would have begun.
BREAKOUT = "\"'></title></script><img src=x onerror=alert(2)>${alert(3)}{{7*7}}"


def hostile_file() -> bytes:
    """Ids, models, questions (which the sandbox answers with themselves) and fields."""
    lines = [ticket(number, text) for number, text in enumerate((HOSTILE, SCRIPT, BREAKOUT))]
    for line, text in zip(lines, (SCRIPT, HOSTILE, BREAKOUT), strict=True):
        line["custom_id"] = text
    refused = ticket(3, f"{SCRIPT} {REFUSED}")
    refused["custom_id"] = f"{HOSTILE} refused"
    bad = ticket(4)
    bad["body"]["model"] = f"{HOSTILE}/{SCRIPT}"
    worse = {**ticket(5), f"x{HOSTILE}": 1, "method": SCRIPT}
    lines += [refused, bad, worse]
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


@pytest.fixture
def key(suite: Suite) -> str:
    """Of the first account: some tests make a key beside it."""
    return Path(suite.ready["api_key_file"]).read_text().strip()


def test_what_people_models_and_providers_wrote_is_text(
    visit: MakeVisitor, suite: Suite, key: str, other_site: OtherSite
) -> None:
    from playwright.sync_api import expect

    visitor = visit()
    page = visitor.page
    visitor.sign_in(key)
    # What the provider says of a whole batch.
    fault = {"kind": "fail_batch", "code": HOSTILE, "line": 1, "count": 1, "provider": "openai"}
    suite.reset_sandbox(faults=[fault])
    visitor.upload(f"{BREAKOUT}.jsonl", hostile_file())
    file = page.url.removeprefix(visitor.base)
    page.get_by_label("Leave out lines that cannot be sent").check()
    batch = visitor.create()
    visitor.expect_state("Completed")
    made = suite.run(
        *("-m", "services.gateway", "keys", "create", "--account", "default", "--name", BREAKOUT)
    )
    assert made.returncode == 0, made.stderr
    visitor.make_endpoint(other_site.hook, BREAKOUT)
    for path in (
        *(file, batch, "/", f"/?q={BREAKOUT.replace('%', '')}", f"/?state={BREAKOUT}"),
        *(f"{batch}/lines/{line}" for line in range(1, 7)),
        *(f"{batch}/retry", f"{batch}/delete", "/usage", "/usage?by=key", "/keys", "/webhooks"),
    ):
        visitor.go(path)
        # Nothing of it has become an element, and nothing has run: see the visitor's troubles.
        assert page.locator("[onerror], img, main script, svg script").count() == 0, path
        assert "49" not in page.title()
    visitor.go(batch)
    expect(page.locator("body")).to_contain_text(HOSTILE)
    visitor.go(f"{batch}/lines/1")
    expect(page.locator(".sides section").last).to_contain_text("<img src=x onerror=alert(1)>")
    visitor.go("/keys")
    expect(page.get_by_role("row").filter(has_text="onerror=alert(2)").first).to_be_visible()


def test_what_is_saved_is_never_read_as_a_page(
    visit: MakeVisitor, suite: Suite, key: str, other_site: OtherSite
) -> None:
    visitor = visit()
    visitor.sign_in(key)
    visitor.upload("tickets.jsonl", hostile_file())
    file = visitor.page.url.removeprefix(visitor.base)
    visitor.page.get_by_label("Leave out lines that cannot be sent").check()
    batch = visitor.create()
    visitor.expect_state("Completed")
    paths = [f"{batch}/results/all.jsonl", f"{batch}/manifest.json", f"{file}/report.jsonl"]
    for path in paths:
        # A page that is opened on it saves it, and stays where it was.
        with visitor.page.expect_download():
            visitor.page.evaluate("(at) => { location.href = at; }", path)
        assert visitor.page.url == visitor.base + batch
        # Nor is it a script, or a style, on any site.
        loaded = visitor.page.evaluate(
            """(at) => new Promise((done) => {
              const script = document.createElement("script");
              script.onload = () => done("ran");
              script.onerror = () => done("refused");
              script.src = at;
              document.head.append(script);
            })""",
            path,
        )
        assert loaded == "refused", path
    told = [each for each in visitor.troubles if "strict MIME type checking" in each]
    assert len(told) == len(paths)
    visitor.troubles.clear()


def attack(visitor: Visitor, site: OtherSite, page: str) -> None:
    """Have the browser that is signed in open somebody else's page."""
    site.pages["/"] = page
    tab = visitor.context.new_page()
    tab.goto(site.base)
    tab.wait_for_load_state("networkidle")
    tab.close()


def test_no_other_site_sends_forms_or_reads_pages(
    visit: MakeVisitor, suite: Suite, key: str, other_site: OtherSite
) -> None:
    from playwright.sync_api import expect

    suite.reset_sandbox(batch_seconds=3600)
    visitor = visit()
    visitor.sign_in(key)
    visitor.upload("tickets.jsonl", f"{json.dumps(ticket(0))}\n".encode())
    batch = visitor.create()
    visitor.expect_state("In progress")
    token = visitor.page.locator("[name=csrf]").first.get_attribute("value")
    for target in (f"{batch}/cancel", "/sign-out"):
        # Even with a token that is right, which it cannot know.
        form = (
            f'<form method="post" action="{visitor.base}{target}">'
            f'<input name="csrf" value="{token}"></form><script>document.forms[0].submit()</script>'
        )
        attack(visitor, other_site, form)
    attack(
        visitor,
        other_site,
        f"""<script>
          const options = {{ method: "POST", credentials: "include", mode: "no-cors",
            headers: {{ "content-type": "application/x-www-form-urlencoded" }} }};
          fetch("{visitor.base}{batch}/cancel", {{ ...options, body: "csrf={token}" }});
          fetch("{visitor.base}/uploads/an-upload-of-evil", {{ credentials: "include" }})
            .then((found) => found.text())
            .then((text) => fetch("/", {{ method: "POST", body: text }}), () => {{}});
        </script>""",
    )
    assert other_site.calls == [], "it has read an answer"
    visitor.go(batch)
    expect(visitor.page.get_by_role("button", name="Sign out")).to_be_visible()
    visitor.expect_state("In progress")


def test_no_other_site_shows_the_dashboard_in_a_frame(
    visit: MakeVisitor, key: str, other_site: OtherSite
) -> None:
    visitor = visit()
    visitor.sign_in(key)
    frames = f'<iframe src="{visitor.base}/"></iframe><iframe src="{visitor.base}/keys"></iframe>'
    other_site.pages["/"] = frames
    tab = visitor.context.new_page()
    tab.goto(other_site.base)
    tab.wait_for_load_state("networkidle")
    urls = [frame.url for frame in tab.frames[1:]]
    assert len(urls) == 2
    assert all(url.startswith("chrome-error:") for url in urls), urls
    tab.close()


def test_a_revoked_key_ends_its_session_wherever_it_is_open(
    visit: MakeVisitor, suite: Suite, key: str
) -> None:
    from playwright.sync_api import expect

    suite.reset_sandbox(batch_seconds=3600)
    made = suite.run(
        *("-m", "services.gateway", "keys", "create", "--account", "default", "--name", "leaked")
    )
    leaked = next(word for word in made.stdout.split() if word.startswith("pb_"))
    holder, owner = visit(), visit()
    holder.sign_in(leaked)
    holder.upload("tickets.jsonl", f"{json.dumps(ticket(0))}\n".encode())
    holder.create()
    holder.expect_state("In progress")
    owner.sign_in(key)
    owner.go("/keys")
    page = owner.page
    page.get_by_role("link", name="Revoke leaked").click()
    page.get_by_role("link", name="Keep it").click()
    page.get_by_role("link", name="Revoke leaked").click()
    page.get_by_role("button", name="Revoke the key").click()
    expect(page.get_by_role("row").filter(has_text="leaked")).to_contain_text("revoked")
    # Its page is open and asks for nothing: the stream of events ends, and it goes by itself.
    holder.page.wait_for_url(re.compile("/sign-in"), timeout=30_000)
    holder.page.get_by_label("API key").fill(leaked)
    holder.page.get_by_role("button", name="Sign in").click()
    expect(holder.page.get_by_role("alert")).to_contain_text("not valid")


def test_keys_cannot_be_guessed_at_will(visit: MakeVisitor, suite: Suite, key: str) -> None:
    from playwright.sync_api import expect

    # From an address of its own, so that nobody else is held up.
    port = int(suite.ready["web"].rpartition(":")[2])
    with relay_to(port, source="127.0.0.9") as relay:
        visitor = visit(relay.base)
        page = visitor.page
        visitor.go("/sign-in")
        for number in range(10):
            page.get_by_label("API key").fill(f"pb_guess-{number}")
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("alert")).to_contain_text("not valid")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("try again in")
        visitor.go("/usage")
        expect(page.get_by_label("API key")).to_be_visible()
