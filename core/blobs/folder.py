"""Durable, atomic writes into a local folder.

obstore's local store (object_store 0.14) never calls fsync and offers no setting
for it, so a blob that it acknowledged may be empty or full of zeros after a power
cut. Writes therefore go through here; listing and reading stay with obstore, which
leaves files out whose names end in "#" and digits, as the unfinished ones here do.
"""

from __future__ import annotations

import os
import secrets
import shutil
import weakref
from collections.abc import Sequence
from pathlib import Path

from core.blobs.disk_headroom import require_headroom

# Linux and macOS take no more in one call.
_PARTS_AT_ONCE = 1024


class FileDraft:
    """A file while it is written: nobody sees it before it is committed. All methods block.

    One that is forgotten is deleted. After an error it can only be discarded.
    """

    def __init__(self, path: Path, unfinished: Path, descriptor: int, reserve: int) -> None:
        self._path = path
        self._reserve = reserve
        self._unfinished = unfinished
        self._descriptor = descriptor
        self._synced = False
        self.discard = weakref.finalize(self, _discard, unfinished, descriptor)
        """Delete it, if it is not committed. Raises nothing."""

    def append(self, parts: Sequence[bytes | memoryview]) -> None:
        """Write behind what is there. Raises OSError."""
        self._synced = False
        require_headroom(self._path.parent, sum(map(len, parts)), self._reserve)
        for first in range(0, len(parts), _PARTS_AT_ONCE):
            some = parts[first : first + _PARTS_AT_ONCE]
            written = os.writev(self._descriptor, some)
            if written < sum(map(len, some)):
                _write_rest(self._descriptor, memoryview(b"".join(some))[written:])

    def sync(self, parts: Sequence[bytes | memoryview]) -> None:
        """Append the last parts; what was written survives a power cut then, but has no name.

        Raises OSError.
        """
        if parts or not self._synced:
            self.append(parts)
            os.fsync(self._descriptor)
            self._synced = True

    def commit(self, parts: Sequence[bytes | memoryview], *, create_only: bool) -> None:
        """Append the last parts and give the file its name; it survives a power cut then.

        The contents are on the disk before the name appears, so no crash leaves a
        name with torn contents. Raises FileExistsError when create_only and the
        name is taken; OSError otherwise.
        """
        try:
            self.sync(parts)
            if create_only:
                os.link(self._unfinished, self._path)
            else:
                os.replace(self._unfinished, self._path)
        finally:
            self.discard()
        _sync_folder(self._path.parent)


class Folder:
    """One local folder, readable by its owner only. All methods block."""

    def __init__(self, root: Path, *, reserve: int = 0) -> None:
        """Make the folder, with its parents, if it is not there.

        reserve: bytes of the disk that no file is to take.
        """
        self.root = root
        self._reserve = reserve
        if not root.is_dir():
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_folder(root.parent)

    def write(self, key: str, parts: Sequence[bytes | memoryview], *, create_only: bool) -> None:
        """Write a file whole; on return it survives a power cut.

        Raises FileExistsError when create_only and the name is taken; OSError otherwise.
        """
        self.draft(key).commit(parts, create_only=create_only)

    def draft(self, key: str) -> FileDraft:
        """Begin a file that is written bit by bit."""
        path = self.root / key
        unfinished = path.with_name(f"{path.name}#{secrets.randbits(63)}")
        return FileDraft(path, unfinished, self._create(unfinished), self._reserve)

    def link(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Give whole files, each a pair's first, a further name; on return all survive a power cut.

        Raises FileExistsError where the name is taken; OSError otherwise.
        """
        folders = {(self.root / key).parent for _, key in pairs}
        for folder in folders:
            self._make_folders(folder)
        for key, further in pairs:
            os.link(self.root / key, self.root / further)
        for folder in folders:
            _sync_folder(folder)

    def delete_tree(self, prefix: str) -> None:
        """Delete everything under the prefix, unfinished files too."""
        path = self.root / prefix
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            return
        _sync_folder(path.parent)

    def check(self) -> None:
        """Raise OSError unless the folder is there and can be written to."""
        if not os.access(self.root, os.R_OK | os.W_OK | os.X_OK):
            raise OSError(f"the blob folder {self.root} is missing or cannot be written to")

    def _create(self, path: Path) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            self._make_folders(path.parent)
            return os.open(path, flags, 0o600)

    def _make_folders(self, folder: Path) -> None:
        if not self.root.is_dir():
            # Made anew it would hide that its disk is gone, and be hidden when that is back.
            raise OSError(f"the blob folder {self.root} is missing")
        # Path.mkdir(parents=True) would give the parents the umask's permissions.
        chain = [p for p in (folder, *folder.parents) if p.is_relative_to(self.root)]
        for path in reversed(chain):
            path.mkdir(mode=0o700, exist_ok=True)
        # All of the chain: a folder that was there already may have been made by
        # another process that has not synced it yet.
        for path in chain:
            _sync_folder(path)


def _write_rest(descriptor: int, rest: memoryview) -> None:
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _discard(unfinished: Path, descriptor: int) -> None:
    os.close(descriptor)
    unfinished.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
