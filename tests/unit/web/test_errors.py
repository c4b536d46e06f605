"""What gateway or collector refused, as HTTP says it."""

from __future__ import annotations

import pytest
from polybatch.errors import PolybatchError

from services.web.errors import from_engine

ID = "0mx3y735gcfigr3chd49"


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


@pytest.mark.parametrize(
    ("path", "message", "shown"),
    [
        (f"/v1/files/file-{ID}", f"there is no file 'file_{ID}'", f"There is no file 'file-{ID}'."),
        (f"/v1/batches/batch_{ID}", f"there is no batch 'batch_{ID}'", f"batch 'batch_{ID}'."),
        (f"/anthropic/v1/messages/batches/msgbatch_{ID}", f"no batch_{ID}", f"No msgbatch_{ID}."),
        ("/v1/files/x", "file_name: at most 255 bytes", "file_name: at most 255 bytes."),
        (f"/batches/batch_{ID}", f"the file file_{ID} is gone", f"The file file_{ID} is gone."),
    ],
)
def test_ids_are_those_of_the_api_that_was_asked(path: str, message: str, shown: str) -> None:
    error = PolybatchError(message, code="NOT_FOUND", reason="FILE_NOT_FOUND")
    assert from_engine(error, path).message.endswith(shown)
