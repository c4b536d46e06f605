"""What is wrong with a request is named as its sender wrote it."""

from __future__ import annotations

from tests.integration.web.conftest import Web
from tests.integration.web.test_bad_input import BATCH, FILE, FORM, PURPOSE, form
from tests.integration.web.test_spending import MESSAGES, REQUEST


async def test_a_misspelled_limit_is_named_with_what_was_meant(web: Web) -> None:
    """It was ignored, and the batch ran without a limit."""
    made = await web.client.post(
        "/v1/files", content=form(PURPOSE, FILE), headers={"content-type": FORM}
    )
    asked = {**BATCH, "input_file_id": made.json()["id"], "max_costs": "0.0001"}
    answer = await web.client.post("/v1/batches", json=asked)
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": "Unknown parameter: 'max_costs'. Did you mean 'max_cost'?",
        "type": "invalid_request_error",
        "param": "max_costs",
        "code": "unknown_parameter",
    }
    assert (await web.client.get("/v1/batches")).json()["data"] == []


UNKNOWN_FIELDS = [
    ("/v1/uploads", {"purpose": "batch", "filename": "a", "bytes": 1, "mime_type": "", "x": 1}),
    ("/v1/webhook_endpoints", {"name": "a", "event_types": [], "x": 1}),
    ("/v1/webhook_endpoints/wh_1", {"x": 1}),
    ("/v1/webhook_endpoints/wh_1/rotate_secret", {"x": 1}),
    ("/v1/webhook_endpoints/wh_1/test", {"event_type": "batch.completed", "x": 1}),
]


async def test_no_field_is_ignored(web: Web) -> None:
    for path, body in UNKNOWN_FIELDS:
        answer = await web.client.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x"), path
        assert "/openapi.json" in answer.json()["error"]["message"]


async def test_requests_are_counted_from_0_wherever_they_are_named(web: Web) -> None:
    answer = await web.client.post(MESSAGES, json={"requests": [REQUEST, REQUEST]})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == (
        "requests.1.custom_id: the custom_id was used first in requests.0; "
        "expected one that is unique in the batch."
    )
