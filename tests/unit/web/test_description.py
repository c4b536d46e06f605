"""The API's description, which the documentation is made of."""

from __future__ import annotations

import json
import re
from pathlib import Path

from services.web.openapi import describe, shown_path
from services.web.routes import ROUTES

PAGE = Path(__file__).parents[3] / "docs/http-api.md"


def test_every_route_is_documented() -> None:
    page = PAGE.read_text()
    described = re.findall(r"^\| `([A-Z]+) (/\S+)` \|", page, re.M)
    assert set(described) == {(each.method, shown_path(each.path)) for each in ROUTES}


def test_a_batch_of_anthropics_form_is_deleted_as_the_description_says() -> None:
    """It once said that batches are kept, which would have had someone lose results."""
    path = "/anthropic/v1/messages/batches/{batch_id}"
    summary = describe(ROUTES)["paths"][path]["delete"]["summary"]
    assert "delete" in summary
    assert "refused" not in summary
    assert f"| `DELETE {path}` | {summary} |" in PAGE.read_text()


def test_every_schema_that_is_named_is_there() -> None:
    description = describe(ROUTES)
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(description)))
    assert named <= description["components"]["schemas"].keys()
    assert {"Batch", "CreateBatch", "OpenAIError", "MessageBatch"} <= named
    operations = [each for path in description["paths"].values() for each in path.values()]
    assert len({each["operationId"] for each in operations}) == len(operations) == len(ROUTES)
