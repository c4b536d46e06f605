"""What gateway or collector refused, as HTTP says it."""

from __future__ import annotations

import pytest
from polybatch.errors import PolybatchError

from services.web.errors import from_engine


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("the file is empty", "The file is empty."),
        ("request_id: at most 128 bytes", "request_id: at most 128 bytes."),
        (
            "webhook_0mx3gtrgia is there for it already",
            "webhook_0mx3gtrgia is there for it already.",
        ),
    ],
)
def test_names_and_ids_are_spelled_as_they_are(message: str, shown: str) -> None:
    error = PolybatchError(message, code="INVALID_ARGUMENT", reason="INVALID_FIELD")
    assert from_engine(error).message == shown
