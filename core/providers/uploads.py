"""The input of a batch on its way: uploaded, or there already; and whether it still is.

What the adapters with uploads have in common. A file without a batch costs nothing, so
until the create all may be repeated; and what was uploaded is not sent a second time
while it can be used.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from core.providers.contract import ProviderRejected, ProviderUnavailable, Refused, Upload
from core.providers.http.upload_tries import UploadTries
from core.providers.provider_errors import is_transient

F = TypeVar("F")

_GONE = frozenset({403, 404, 410})
_NO_FILE = re.compile(
    r"\bfiles?\b.{0,200}?\b(not found|not exist|no longer|expired|deleted)\b"
    r"|\b(no such|not find|unknown|expired|missing)( input)? file\b",
    re.IGNORECASE | re.DOTALL,
)


class InputLost(Exception):
    """The provider has the file and cannot use it."""


class InputFiles(Protocol[F]):
    """How an adapter uploads, and waits until the provider can use what it has.

    Both methods raise ProviderUnavailable, ProviderRejected.
    """

    async def send_input(self, spool: Path, name: str, tries: UploadTries) -> F:
        """Upload a spool under a name."""
        ...

    def input_id(self, file: F) -> str:
        """The provider's id of a file."""
        ...

    async def await_input(self, file: F | str) -> None:
        """Wait until a file, or one of which only the id is known, can be used.

        Raises InputLost besides.
        """
        ...


async def bring(
    files: InputFiles[F], source: Path | Upload, name: str, *, deadline: float
) -> Upload | Refused:
    """Upload the source if it is a spool, and wait until it can be used.

    `deadline`: in the event loop's time. A refusal names what was uploaded by then.
    """
    tries = UploadTries()
    file_id = source.remote_file_id if isinstance(source, Upload) else ""

    def there() -> Upload:
        return Upload(file_id, orphans=tries.orphans)

    try:
        async with asyncio.timeout_at(deadline):
            if isinstance(source, Path):
                file = await files.send_input(source, name, tries)
                file_id = files.input_id(file)
                await files.await_input(file)
            elif not source.usable:
                await files.await_input(file_id)
            return there()
    except TimeoutError:
        return Refused("upload_too_slow", "The upload took too long.", True, upload=there())
    except InputLost as error:
        return Refused("upload_failed", str(error), True, upload=there(), input_lost=True)
    except ProviderUnavailable as error:
        return Refused("upload_failed", str(error), True, error.retry_after, upload=there())
    except ProviderRejected as error:
        lost = isinstance(source, Upload) and error.status in _GONE
        transient = lost or is_transient(error.status, error.code)
        return Refused(
            error.code,
            error.message,
            transient,
            # Google answers 403 for a file that is gone. If it is the key all the same, the
            # upload that follows is refused for it.
            access=error.access and not lost,
            upload=there(),
            input_lost=lost,
        )


def judged(refusal: Refused, source: Path | Upload, upload: Upload) -> Refused:
    """A refused create, with the input that it named.

    Where that is an earlier attempt's, a refusal for good may be about the input, and no two
    providers say so alike: it is uploaded anew before the shard is given up.
    """
    kept = isinstance(source, Upload)
    about_key = refusal.access and not says_no_file(refusal.message)
    lost = kept and not refusal.transient and not about_key
    return replace(
        refusal,
        transient=refusal.transient or lost,
        access=refusal.access and not lost,
        upload=upload,
        input_lost=lost,
    )


def says_no_file(message: str) -> bool:
    """Whether a provider's words for a failed batch are about an input that is not there."""
    return bool(_NO_FILE.search(message))


async def discard_named(
    files: AsyncIterator[tuple[str, str]],
    prefix: str,
    discard: Callable[[str], Awaitable[None]],
) -> int:
    """Delete the files, given as (id, name), whose names begin so; returns how many.

    All of the list is read first: what is deleted meanwhile would shift its pages.
    """
    found: Iterable[str] = dict.fromkeys(
        [file_id async for file_id, name in files if name.startswith(prefix)]
    )
    count = 0
    for file_id in found:
        await discard(file_id)
        count += 1
    return count
