"""Ids as the vendors' SDKs see them, and the engine's ids in them: nothing has to be remembered.

engine           OpenAI                              Anthropic
file_<id>        file-<id>
batch_<id>       batch_<id>                          msgbatch_<id>
its results      file-<id>-output, file-<id>-errors  msgbatch_<id>
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from polybatch.models import ResultFilter

from services.web.errors import HttpError

_FILE = re.compile(r"file[-_]([0-9a-z]{20})", re.ASCII)
_RESULTS = re.compile(r"file-([0-9a-z]{20})-(output|errors)", re.ASCII)
_BATCH = re.compile(r"batch_([0-9a-z]{20})", re.ASCII)
_MESSAGE_BATCH = re.compile(r"msgbatch_([0-9a-z]{20})", re.ASCII)
_TIME_CHARS = 9
_FILTERS = {"output": ResultFilter.SUCCEEDED, "errors": ResultFilter.FAILED}


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that was uploaded."""

    file_id: str


@dataclass(frozen=True, slots=True)
class ResultsFile:
    """The lines of a batch that succeeded, or the others."""

    batch_id: str
    which: ResultFilter

    @property
    def shown(self) -> str:
        """As OpenAI's `output_file_id` or `error_file_id`."""
        kind = "output" if self.which is ResultFilter.SUCCEEDED else "errors"
        return f"file-{self.batch_id.removeprefix('batch_')}-{kind}"


def shown_file(file_id: str) -> str:
    """An engine's file id as OpenAI's SDK sees it."""
    return file_id.replace("file_", "file-", 1)


def parse_file(shown: str) -> InputFile | ResultsFile:
    """The reverse of both. Raises HttpError (404): what has another form is no id of ours."""
    if match := _FILE.fullmatch(shown):
        return InputFile(f"file_{match[1]}")
    if match := _RESULTS.fullmatch(shown):
        return ResultsFile(f"batch_{match[1]}", _FILTERS[match[2]])
    raise HttpError.not_found("File object", shown)


def parse_batch(shown: str) -> str:
    """The engine's id of a batch. Raises HttpError (404)."""
    if not _BATCH.fullmatch(shown):
        raise HttpError.not_found("Batch object", shown, "batch_not_found")
    return shown


def shown_message_batch(batch_id: str) -> str:
    """A batch's id as Anthropic's SDK sees it."""
    return batch_id.replace("batch_", "msgbatch_", 1)


def parse_message_batch(shown: str) -> str:
    """The reverse. Raises HttpError (404)."""
    match = _MESSAGE_BATCH.fullmatch(shown)
    if match is None:
        raise HttpError.not_found("message batch", shown)
    return f"batch_{match[1]}"


def milliseconds_of(engine_id: str) -> int:
    """When an id was made, in milliseconds since 1970: it begins with that, in base 36."""
    return int(engine_id.partition("_")[2][:_TIME_CHARS], 36)
