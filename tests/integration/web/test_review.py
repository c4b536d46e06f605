"""What the page of an uploaded file says of it, and what it offers."""

from __future__ import annotations

import gzip
import html
import json
import re
from typing import Any

import pytest

from tests.integration.web.conftest import Browser
from tests.support.gateway.running import lines

UNFIT = {
    "csv": (b"id,prompt\n1,Hello\n2,Bye\n", "the file is CSV"),
    "gzip": (gzip.compress(lines(3)), "unpack it first"),
    "utf-16": (lines(2).decode().encode("utf-16"), "text in UTF-16"),
    "pretty": (json.dumps({"custom_id": "a", "body": {}}, indent=2).encode(), "pretty-printed"),
    "empty": (b"", "it is empty"),
    "blank": (b"\n \n", "blank lines alone"),
}
OPTIONS = "Create the batch"


def unnamed(body: dict[str, Any]) -> bytes:
    """A line that leaves its provider to the model."""
    made = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(made).encode() + b"\n"


async def reviewed(browser: Browser, content: bytes) -> tuple[str, str]:
    """The page of a file, as HTML and as text."""
    answer = await browser.upload("a.jsonl", content)
    page = (await browser.client.get(answer.headers["location"])).text
    text = html.unescape(re.sub(r"<[^>]+>", "", page[page.index("<main") :]))
    return page, re.sub(r"\s+", " ", text)


@pytest.mark.parametrize(("content", "reason"), UNFIT.values(), ids=UNFIT.keys())
async def test_a_file_without_lines_is_told_once_and_makes_no_batch(
    signed_in: Browser, content: bytes, reason: str
) -> None:
    page, text = await reviewed(signed_in, content)
    assert text.count(reason) == 1
    assert text.count("expected one JSON object a line") == 1
    assert "`" not in text
    assert "lines cannot be sent" not in text
    assert OPTIONS not in text
    assert "Problems" not in text
    assert '<a class="button main" href="/new">Upload another file</a>' in page
    if "polybatch" in text[text.index("Nothing of this file") :]:
        assert "on the command line, <code>polybatch " in page


async def test_lines_none_of_which_can_be_sent_make_no_batch(signed_in: Browser) -> None:
    _, text = await reviewed(signed_in, b"no json\n")
    assert "1 line ·" in text
    assert "The line cannot be sent. Mend it and upload the file again." in text
    assert "Download the whole report" in text
    assert OPTIONS not in text
    _, text = await reviewed(signed_in, b"no json\nnor this\n")
    assert "None of the 2 lines can be sent. Mend them and upload the file again." in text
    assert "no line that can be sent" not in text, "it has been said"
    assert OPTIONS not in text


async def test_bad_lines_can_be_left_out_of_a_batch(signed_in: Browser) -> None:
    _, text = await reviewed(signed_in, b"no json\n" + lines(2))
    assert (
        "1 of 3 lines cannot be sent. Mend it and upload the file again, "
        "or create the batch without it below."
    ) in text
    assert OPTIONS in text


async def test_lines_that_go_without_what_a_provider_lacks_make_a_batch(signed_in: Browser) -> None:
    body = {
        "model": "anthropic/claude-sonnet-4-5",
        "max_tokens": 9,
        "verbosity": "low",
        "messages": [{"role": "user", "content": "Hi"}],
    }
    _, text = await reviewed(signed_in, unnamed(body) + unnamed(body).replace(b'"a"', b'"b"'))
    assert "None of the 2 lines can be sent." in text
    assert "leave out below what a provider lacks: 2 lines can be sent then." in text
    assert "no line that can be sent" not in text
    assert OPTIONS in text


async def test_advice_for_the_command_says_that_it_is(signed_in: Browser) -> None:
    body = {"model": "of-nobody", "messages": [{"role": "user", "content": "Hi"}]}
    page, _ = await reviewed(signed_in, unnamed(body))
    told = "on the command line, <code>polybatch submit FILE --provider NAME</code>"
    assert told in page
