"""What keeps a file from becoming a batch, as refusals that name its first problems."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing

from core.batchfile import Problem, read_report
from core.blobs import BlobStore, StoredFile
from core.ledger import File
from core.serving import ApiError
from services.gateway.batch_args import BatchArgs

_SHOWN = 20


def invalid_lines(file: File, *, lenient: bool) -> int:
    """How many lines of the file a batch does not take."""
    return file.invalid_line_count - (file.lenient_line_count if lenient else 0)


async def refuse_unfit(
    blobs: BlobStore, file: File, batch_args: BatchArgs, missing_keys: Mapping[str, str]
) -> None:
    """Refuse a file that cannot become the batch that is asked for.

    INVALID_LINES, PROVIDER_NOT_CONFIGURED (`missing_keys`: provider slug to the variable that
    would hold its key), and as `refuse_empty`.
    """
    lenient = batch_args.lenient_translation
    invalid = invalid_lines(file, lenient=lenient)
    if invalid and not batch_args.skip_invalid_lines:
        problems = await first_errors(blobs, file, lenient=lenient)
        takes = ""
        if file.lenient_line_count and not lenient:
            takes = f" (lenient_translation would take {file.lenient_line_count} of them)"
        # Of a file without a good line there is none to let run.
        skip = ", or set skip_invalid_lines" if invalid < file.line_count else ""
        raise ApiError.invalid_argument(
            "INVALID_LINES",
            f"{invalid} of {file.line_count} lines are invalid{takes}: fix the "
            f"file{skip}; its validation report names all problems",
            violations=[(_place(problem), problem.message) for problem in problems],
            metadata={
                "file_id": file.id,
                "line_count": str(file.line_count),
                "invalid_line_count": str(invalid),
                "lenient_line_count": str(0 if lenient else file.lenient_line_count),
            },
        )
    await refuse_empty(blobs, file, lenient=lenient)
    asked = {
        group["provider"]
        for group in file.groups
        if group["lines"] or (lenient and group.get("lenient_lines"))
    }
    missing = sorted(asked & missing_keys.keys())
    if missing:
        variables = ", ".join(missing_keys[provider] for provider in missing)
        raise ApiError.failed_precondition(
            "PROVIDER_NOT_CONFIGURED",
            f"the file has lines for {', '.join(missing)}, for which this service has no "
            f"key: its operator has to set {variables}",
            metadata={
                "file_id": file.id,
                "providers": ",".join(missing),
                "variables": variables,
            },
        )


async def refuse_empty(blobs: BlobStore, file: File, *, lenient: bool) -> None:
    """Refuse a file without a line that can be sent: NOT_JSON_LINES, NO_VALID_LINES."""
    if not file.line_count and file.problem_count:
        [problem, *_] = await first_errors(blobs, file)
        raise ApiError.invalid_argument(
            "NOT_JSON_LINES", problem.message, metadata={"file_id": file.id}
        )
    if file.line_count == invalid_lines(file, lenient=lenient):
        message = "the file has no line that can be sent"
        if not file.line_count:
            message = "the file has only blank lines" if file.bytes else "the file is empty"
        raise ApiError.invalid_argument(
            "NO_VALID_LINES",
            message,
            metadata={"file_id": file.id, "line_count": str(file.line_count)},
        )


async def first_errors(blobs: BlobStore, file: File, *, lenient: bool = False) -> list[Problem]:
    """The first problems of a file's report, 20 at most, warnings left out.

    `lenient`: only those that a lenient batch has as well.
    """
    found: list[Problem] = []
    if not file.problem_count:
        return found
    report = await StoredFile.open(blobs, f"{file.prefix}/report")
    async with aclosing(read_report(report)) as groups:
        async for group in groups:
            found += [
                problem
                for problem in group
                if problem.severity == "error" and not (lenient and problem.lenient)
            ]
            if len(found) >= _SHOWN:
                break
    return found[:_SHOWN]


def file_not_found(file_id: str) -> ApiError:
    """There is no such file in the caller's account."""
    return ApiError.not_found("FILE_NOT_FOUND", f"there is no file {file_id[:64]!r}")


def _place(problem: Problem) -> str:
    """Where a problem lies, such as "line 3: body.model"."""
    return f"line {problem.line}: {problem.field}" if problem.field else f"line {problem.line}"
