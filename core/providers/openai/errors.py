"""Why a batch in OpenAI's form failed its check, by name (fact sheet, section 7).

Azure's spellings are those of its table of error codes (azure-ai-docs,
how-to-batch-content.md, 2026-03).
"""

from __future__ import annotations

import re
from enum import Enum

from core.providers.contract import BadLine, Refused
from core.providers.openai.wire import BatchError, RemoteJob
from core.providers.parsing import count_of
from core.providers.uploads import says_no_file

_MAX_TOLD = 20
_MAX_CHARS = 2000


class Blame(Enum):
    """What has to change before the batch can be accepted."""

    TIME = "time"
    """Nothing but that: the same lines are sent again later."""
    LINE = "line"
    """The line that the error names; the others may be accepted without it."""
    BATCH = "batch"
    """Something that all its lines have in common."""


TOKEN_LIMIT = "token_limit_exceeded"
NOT_TOLD = "failed"

BLAMES = {
    TOKEN_LIMIT: Blame.TIME,
    "billing_hard_limit_reached": Blame.TIME,
    "input_modified": Blame.TIME,  # Azure, own storage: is uploaded again
    "invalid_json_line": Blame.LINE,
    "missing_required_parameter": Blame.LINE,
    "duplicate_custom_id": Blame.LINE,
    "invalid_url": Blame.LINE,
    "url_mismatch": Blame.LINE,  # Azure
    "invalid_method": Blame.LINE,  # Azure, Groq
    "streaming_unsupported": Blame.LINE,
    "invalid_request": Blame.LINE,
    "mismatched_model": Blame.BATCH,
    "model_mismatch": Blame.BATCH,  # Azure
    "model_not_found": Blame.BATCH,
    "empty_file": Blame.BATCH,
    "empty_batch": Blame.BATCH,  # Azure
    "too_many_tasks": Blame.BATCH,  # Azure: more than 100,000 requests
    "input_no_permissions": Blame.BATCH,  # Azure, own storage
    NOT_TOLD: Blame.BATCH,
}


def blame(error: BatchError) -> Blame:
    """Whom an error blames; one of an unknown code: the line that it names, if any."""
    code = error.code or NOT_TOLD
    if blames_input(error):
        # The upload succeeded: the file is not seen yet, or has gone. It is uploaded again.
        return Blame.TIME
    found = BLAMES.get(code, Blame.LINE)
    return Blame.BATCH if found is Blame.LINE and error.line is None else found


def blames_input(error: BatchError) -> bool:
    """Whether the uploaded file is said to be not there, or not what it was."""
    if error.code == "input_modified" or (
        error.code == "invalid_request" and error.param == "file_id"
    ):
        return True
    return error.line is None and says_no_file(error.message or "")


def refusal(job: RemoteJob) -> Refused:
    """Why a batch failed: nothing of it ran."""
    errors = job.error_list or [BatchError()]
    code = errors[0].code or NOT_TOLD
    return Refused(
        code=code,
        message="; ".join(_tell(error, code) for error in errors[:_MAX_TOLD])[:_MAX_CHARS],
        transient=all(blame(error) is Blame.TIME for error in errors),
        enqueued_token_limit=stated_limit(errors[0].message or ""),
        bad_lines=tuple(
            BadLine(error.line, error.code or NOT_TOLD, error.param or "", error.message or "")
            for error in errors
            if error.line is not None and blame(error) is Blame.LINE
        ),
        input_lost=any(blames_input(error) for error in errors),
    )


def stated_limit(message: str) -> int | None:
    """The limit in "... Limit: 90,000 enqueued tokens. ..."."""
    found = re.search(r"[Ll]imit:? *(\d[\d,]{0,20}) +enqueued tokens", message)
    return (count_of(int(found[1].replace(",", ""))) or None) if found else None


def _tell(error: BatchError, shown_code: str) -> str:
    """`shown_code`: the code that is shown beside the message, and left out of it."""
    # Not error.line: it counts the lines of what was sent.
    field, code = error.param or "", error.code or NOT_TOLD
    if code != shown_code:
        field = f"{code} ({field})" if field else code
    message = (error.message or "").strip() or "the provider gave no reason"
    return f"{field}: {message}" if field else message
