"""The dashboard over a whole suite: a batch is watched to its end, and its lines are read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx2

from tests.support.e2e.inputs import chat
from tests.support.e2e.suite import Suite

SCRIPT = "<script>alert(1)</script>"


def events(client: httpx2.Client, address: str) -> list[tuple[str, int, str]]:
    """Name, id and data of each, until the stream ends; signs of life left out."""
    found = []
    with client.stream("GET", address) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        for block in "".join(answer.iter_text()).split("\n\n"):
            fields = dict(each.split(": ", 1) for each in block.split("\n") if each[:1].isalpha())
            if "event" in fields:
                data = "\n".join(re.findall(r"^data: (.*)$", block, re.MULTILINE))
                found.append((fields["event"], int(fields.get("id", 0)), data))
    return found


def test_a_batch_is_watched_to_its_end_and_its_lines_are_read(suite: Suite) -> None:
    key = Path(suite.ready["api_key_file"]).read_text().strip()
    fates = {1: SCRIPT, 2: "[[sandbox:error=invalid]]"}
    content = "".join(
        json.dumps(chat(number, fates.get(number))) + "\n\n" for number in range(1, 7)
    )
    with httpx2.Client(base_url=suite.ready["web"], timeout=60) as client:
        client.post("/sign-in", data={"key": key, "next": ""})
        page = client.get("/new").text
        token = re.findall(r'name="csrf" value="([^"]+)"', page)[0]
        uploaded = client.post(
            "/new",
            data={"csrf": token},
            files={"file": ("six.jsonl", content.encode())},
            headers={"accept": "application/json"},
        )
        made = client.post(uploaded.json()["next"], data={"csrf": token})
        batch = made.headers["location"]

        seen = events(client, f"{batch}/events")
        assert [name for name, _, _ in seen[-2:]] == ["batch", "end"]
        revisions = [revision for name, revision, _ in seen if name == "batch"]
        assert revisions == sorted(set(revisions))
        assert "Completed" in seen[-2][2]
        # Who reconnects is told only what came since.
        assert [each[0] for each in events(client, f"{batch}/events?seen={revisions[-1]}")] == [
            "end"
        ]

        page = client.get(batch).text
        assert "data-events" not in page, "nothing more comes"
        # Blank lines count in the file, and are none of the results.
        assert f'href="{batch}/lines/3"' in page
        failed = client.get(f"{batch}/lines/3").text
        assert "line-2" in failed
        assert "sandbox:error=invalid" in failed
        answer = failed.partition("Answer</h2>")[2]
        assert "&#34;custom_id&#34;: &#34;line-2&#34;" in answer
        last = client.get(f"{batch}/lines/11").text
        assert last.count("line-6") == 2
        hostile = client.get(f"{batch}/lines/1").text
        assert SCRIPT not in hostile
        assert hostile.count("&lt;script&gt;") == 2, "asked and answered"
        assert client.get(f"{batch}/lines/2").status_code == 404

        saved = {
            which: client.get(f"{batch}/results/{which}.jsonl")
            for which in ("all", "succeeded", "failed")
        }
        assert [each.text.count("\n") for each in saved.values()] == [6, 5, 1]
        for each in saved.values():
            assert each.headers["content-disposition"].startswith("attachment")
        manifest = client.get(f"{batch}/manifest.json").json()
        assert manifest["batch_id"] == batch.rpartition("/")[2]

        assert "six.jsonl" in client.get("/?state=completed").text
        usage = client.get("/usage?days=7&by=provider").text
        assert 'role="img"' in usage
        assert "anthropic" in usage
