"""Blobs by key, in a local folder or in object storage."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore

from core.blobs.errors import BlobExists, BlobMissing, BlobUnavailable
from core.blobs.folder import FileDraft, Folder
from core.blobs.remote import open_remote
from core.failpoints import Failpoint, writing

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_REMOTE_SCHEMES = ("s3", "gs", "az")
_DELETE_GROUP = 1000
_COPIES_AT_ONCE = 32
"""A result file of a hundred gigabytes has thousands of segments, and each takes a connection."""
_CREATE_PAUSES = tuple(0.01 * 2**tried for tried in range(8))
"""Seconds before a create is tried again. S3 refuses it with 409 ConditionalRequestConflict, which
obstore takes for a blob that is there, while another write or a delete of it is under way: "you
should retry the upload" (PutObject, If-None-Match)."""
_S3_CODE = re.compile(r"<Code>(\w+)</Code>")
# A subset that needs no escaping in any store and cannot leave the folder.
_KEY = re.compile(r"(?!\.\.?(?:/|$))[\w.=-]+(?:/(?!\.\.?(?:/|$))[\w.=-]+)*", re.ASCII)


def check_blobs_url(url: str) -> Path | None:
    """The folder of a local store, None for object storage; neither is opened.

    Raises ValueError.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        path = Path(unquote(parts.path))
        if parts.netloc not in ("", "localhost") or not path.is_absolute():
            raise ValueError(f"blob store URL {url!r}: expected file:///absolute/path")
        return path
    if parts.scheme in _REMOTE_SCHEMES and parts.netloc:
        return None
    raise ValueError(
        f"blob store URL {url!r}: expected file:///absolute/path, s3://bucket/prefix, "
        "gs://bucket/prefix or az://account/container/prefix"
    )


class BlobStore:
    """Blobs by key. Keys are parts of [A-Za-z0-9_.=-] joined by "/".

    Safe for concurrent use by many tasks. Every method but `open` raises
    BlobUnavailable when the store cannot do it, and ValueError for a bad key.
    """

    def __init__(self, store: ObjectStore, folder: Folder | None) -> None:
        self._store = store
        self._folder = folder

    @classmethod
    def open(cls, url: str, *, reserve: int = 0) -> BlobStore:
        """Open the store at file://, s3://, gs:// or az://.

        A local folder is made if it is not there; a bucket must be. Access to object
        storage is taken from the variables of the vendor's own tools (AWS_...,
        GOOGLE_..., AZURE_...), see core/blobs/remote.py. Raises ValueError for any other URL.
        reserve: bytes that are left free on the disk of a local folder.
        """
        path = check_blobs_url(url)
        if path is not None:
            folder = Folder(path, reserve=reserve)
            return cls(LocalStore(prefix=path), folder)
        return cls(open_remote(url), None)

    async def put(
        self,
        key: str,
        data: bytes | memoryview | Sequence[bytes | memoryview],
        *,
        point: Failpoint,
        create_only: bool = False,
    ) -> None:
        """Write a blob whole: atomic, and durable on return. `point` names the write.

        `data` may be given in pieces, which are joined. Raises BlobExists when
        create_only and there is a blob under the key; in object storage, one with other
        contents.
        """
        _check_key(key)
        parts = [data] if isinstance(data, bytes | memoryview) else data
        with writing(point), _translated(key):
            if self._folder is not None:
                await asyncio.to_thread(self._folder.write, key, parts, create_only=create_only)
                return
            await self._put_remote(
                key, parts[0] if len(parts) == 1 else b"".join(parts), create_only=create_only
            )

    async def _put_remote(self, key: str, data: bytes | memoryview, *, create_only: bool) -> None:
        mode: obstore.PutMode = "create" if create_only else "overwrite"
        for pause in (0.0, *_CREATE_PAUSES):
            await asyncio.sleep(pause)
            try:
                # A multipart upload would ignore the mode.
                await obstore.put_async(self._store, key, data, mode=mode, use_multipart=False)
            except AlreadyExistsError:
                with suppress(BlobMissing):
                    # obstore repeats a put whose answer was lost, and then meets its own blob.
                    if await self.get(key) != data:
                        raise
                    return
            except FileNotFoundError as error:
                # It is the bucket that is missing.
                raise BlobUnavailable(f"blob {key}: {_reason(error)}", key=key) from error
            else:
                return
        raise BlobUnavailable(f"blob {key}: others write or delete it all the time", key=key)

    def draft(self, key: str, *, point: Failpoint) -> Draft:
        """Begin a blob that is written bit by bit. `point` names its commit."""
        _check_key(key)
        return Draft(self, key, self._folder, point)

    async def get(self, key: str) -> bytes:
        """Read a blob whole. Raises BlobMissing."""
        _check_key(key)
        with _translated(key):
            result = await obstore.get_async(self._store, key)
            return bytes(await result.bytes_async())

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """Read `length` bytes from `start`. Raises BlobMissing if there are not so many."""
        _check_key(key)
        if length == 0:
            return b""
        with _translated(key):
            found = await obstore.get_range_async(self._store, key, start=start, length=length)
        if len(found) != length:
            raise BlobMissing(
                f"blob {key} ends at {start + len(found)}, {start + length} asked for", key=key
            )
        return found.to_bytes()

    async def exists(self, key: str) -> bool:
        """Whether there is a blob under the key."""
        _check_key(key)
        try:
            with _translated(key):
                await obstore.head_async(self._store, key)
        except BlobMissing:
            return False
        return True

    async def list(self, prefix: str) -> list[tuple[str, int]]:
        """Keys and sizes in bytes of the blobs under the folder `prefix`, sorted by key."""
        _check_key(prefix)
        with _translated(prefix):
            found = await obstore.list(self._store, prefix, chunk_size=1000).collect_async()
        return sorted((entry["path"], entry["size"]) for entry in found)

    async def copy_prefix(self, source: str, target: str, *, point: Failpoint) -> None:
        """Copy all blobs under the folder `source` to `target`, where none are; durable on return.

        No byte passes through here: in a local folder both share what lies on the disk, and
        object storage copies by itself. A failure may leave some of them. Raises BlobMissing.
        """
        _check_key(target)
        found = [key for key, _ in await self.list(source)]
        pairs = [(key, target + key.removeprefix(source)) for key in found]
        with writing(point), _translated(source):
            if self._folder is not None:
                await asyncio.to_thread(self._folder.link, pairs)
                return
            for first in range(0, len(pairs), _COPIES_AT_ONCE):
                some = pairs[first : first + _COPIES_AT_ONCE]
                await asyncio.gather(*(obstore.copy_async(self._store, *pair) for pair in some))

    async def delete_prefix(self, prefix: str, *, point: Failpoint) -> None:
        """Delete all blobs under the folder `prefix`; none there is no error."""
        _check_key(prefix)
        if self._folder is not None:
            with writing(point), _translated(prefix):
                await asyncio.to_thread(self._folder.delete_tree, prefix)
            return
        await self.delete([key for key, _ in await self.list(prefix)], point=point)

    async def delete(self, keys: Sequence[str], *, point: Failpoint) -> None:
        """Delete these blobs; one that is not there is no error."""
        for first in range(0, len(keys), _DELETE_GROUP):
            some = keys[first : first + _DELETE_GROUP]
            with writing(point):
                try:
                    await self._delete(some)
                except BlobMissing:
                    # It gives up at the first that is not there, whatever is left of the others.
                    await asyncio.gather(*map(self._delete_if_there, some))

    async def _delete_if_there(self, key: str) -> None:
        with suppress(BlobMissing):
            await self._delete([key])

    async def _delete(self, keys: Sequence[str]) -> None:
        with _translated(keys[0]):
            await obstore.delete_async(self._store, keys)

    async def check(self) -> None:
        """Raise BlobUnavailable unless the store answers; cheap enough for readiness."""
        if self._folder is not None:
            with _translated("readiness"):
                await asyncio.to_thread(self._folder.check)
            return
        # A look at one blob would not tell a missing blob from a missing bucket.
        await self.list("readiness")


class Draft:
    """A blob while it is written: nobody sees it before it is committed.

    In a local folder its bytes leave the memory as they come; object storage takes blobs
    whole, so there they are kept. For one task. One that is forgotten leaves nothing.
    """

    def __init__(self, store: BlobStore, key: str, folder: Folder | None, point: Failpoint) -> None:
        self._store = store
        self._key = key
        self._folder = folder
        self._point = point
        self._file: FileDraft | None = None
        self._parts: list[bytes | memoryview] = []

    async def append(self, parts: Sequence[bytes | memoryview]) -> None:
        """Write behind what is there. Raises BlobUnavailable."""
        if self._folder is None:
            self._parts += parts
            return
        with _translated(self._key):
            await asyncio.to_thread(self._append, self._folder, parts)

    @property
    def on_disk(self) -> bool:
        """Whether its bytes have left the memory."""
        return self._file is not None

    async def sync(self, parts: Sequence[bytes | memoryview]) -> None:
        """Append to one that is on disk, and make it durable: all of `commit` but the name.

        Raises BlobUnavailable.
        """
        assert self._file is not None, "on disk"
        with _translated(self._key):
            await asyncio.to_thread(self._file.sync, parts)

    async def commit(self, parts: Sequence[bytes | memoryview], *, create_only: bool) -> None:
        """Append the last parts and make it a blob; errors as those of BlobStore.put."""
        if self._file is None:
            whole = [*self._parts, *parts]
            await self._store.put(self._key, whole, point=self._point, create_only=create_only)
            return
        with writing(self._point), _translated(self._key):
            await asyncio.to_thread(self._file.commit, parts, create_only=create_only)

    async def discard(self) -> None:
        """Let it go, unless it is committed. Raises nothing."""
        if self._file is not None:
            await asyncio.to_thread(self._file.discard)

    def _append(self, folder: Folder, parts: Sequence[bytes | memoryview]) -> None:
        if self._file is None:
            self._file = folder.draft(self._key)
        self._file.append(parts)


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise ValueError(f"blob key {key!r}: expected parts of [A-Za-z0-9_.=-] joined by '/'")


@contextmanager
def _translated(key: str) -> Iterator[None]:
    """Turn the errors of obstore and of the file system into those of core.blobs."""
    try:
        yield
    except FileNotFoundError as error:
        raise BlobMissing(f"no blob {key}", key=key) from error
    except (AlreadyExistsError, FileExistsError) as error:
        raise BlobExists(f"blob {key} is there already", key=key) from error
    except (BaseError, OSError) as error:
        raise BlobUnavailable(f"blob {key}: {_reason(error)}", key=key) from error


def _reason(error: Exception) -> str:
    """What went wrong; below the first line obstore prints its whole inner structure."""
    text = str(error)
    first = (text.splitlines() or [type(error).__name__])[0].partition(": <?xml")[0]
    code = _S3_CODE.search(text)
    return f"{first}: {code[1]}" if code else first
