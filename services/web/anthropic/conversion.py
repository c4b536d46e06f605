"""Requests that name models of other providers: all of a file into OpenAI's form.

In: a file of requests in Anthropic's own form. Out: another file, of the same requests as chat
completions, for a batch may have lines of one form only. What can go wrong: a request has no
equivalent (400, naming the place): nothing is left out silently.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any

import msgspec
from polybatch.problems import LineProblem
from polybatch.v1 import files_pb2

from services.web.errors import HttpError
from services.web.sending import FileUpload
from services.web.upstream import Engine

# As the service wants them: some lines at a time.
_GROUP_BYTES = 1024 * 1024
_SHOWN_PROBLEMS = 3
_USED_FIRST = re.compile(r"used first in line ([0-9]+); (.*) in the file")

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode


def names_other_models(problems: Iterable[Any]) -> bool:
    """Whether some of what is wrong with native lines is that they name other providers' models."""
    return any(
        each.reason == "model_provider_mismatch" and each.field == "params.model"
        for each in problems
    )


def named(problems: Iterable[Any]) -> str:
    """Problems of lines, by their place in the list of requests."""
    shown = list(problems)[:_SHOWN_PROBLEMS]
    return "; ".join(f"{_place(each)}: {_told(each)}" for each in shown) + "."


async def converted(engine: Engine, file: files_pb2.File) -> Any:
    """The answer to the upload of the converted file. Raises HttpError, PolybatchError."""
    spec = files_pb2.UploadSpec(filename=file.filename, discard_unfinished=True)
    async with (
        FileUpload(engine, spec) as upload,
        aclosing(_groups(engine.downloads.file_chunks(file.id))) as groups,
    ):
        first = 1
        async for group in groups:
            found = await engine.conversions.convert_lines(
                group, to="openai", model=None, provider=None, lenient=False, first_line=first
            )
            if found.problems:
                raise _no_equivalent(found.problems)
            if not await upload.write(b"".join(map(_for_any_provider, found.lines.splitlines()))):
                break
            first += group.count(b"\n")
        return await upload.finish()


def _for_any_provider(line: bytes) -> bytes:
    """Whose model it is, its name says."""
    fields = _decode(line)
    fields.pop("provider", None)
    return _encode(fields) + b"\n"


async def _groups(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Whole lines together, each with its newline."""
    held = bytearray()
    async with aclosing(chunks):
        async for chunk in chunks:
            held += chunk
            if len(held) < _GROUP_BYTES:
                continue
            end = held.rfind(b"\n") + 1
            if end:
                yield bytes(held[:end])
                del held[:end]
    if held:
        yield bytes(held)


def _no_equivalent(problems: Iterable[LineProblem]) -> HttpError:
    return HttpError(
        400,
        f"{named(problems)} The batch names models of other providers, whose APIs have no "
        "equivalent of this; leave it out, or make a batch of Claude's requests alone.",
    )


def _told(problem: Any) -> str:
    """What is wrong. Lines count from 1 and requests from 0: the caller knows only of these."""
    message: str = problem.message.rstrip(".")
    # By its words: what refuses a batch names fields and messages, and no reasons.
    if problem.field != "custom_id":
        return message
    return _USED_FIRST.sub(
        lambda found: f"used first in requests.{int(found[1]) - 1}; {found[2]} in the batch",
        message,
    )


def _place(problem: Any) -> str:
    """As Anthropic names it: "requests.3.params.model"."""
    field = problem.field
    if field == "body" or field.startswith("body."):
        field = f"params{field.removeprefix('body')}"
    return f"requests.{problem.line - 1}{f'.{field}' if field else ''}"
