"""What the sandbox holds: files and batches, apart for each key; contents on disk.

In memory stand only the descriptions. They live as long as the process.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from services.sandbox.batch import Batch
from services.sandbox.http import digest_of
from services.sandbox.kinds import Provider

BLOCK_BYTES = 256 * 1024
"""How much is read, checked or answered at one go, between looks at other requests."""

_FOLDER = "sandbox-contents"
"""Within the data folder: all that is ours, so that nothing else is ever removed."""


@dataclass(slots=True)
class File:
    """An uploaded file (it has a path), or one to be made from a batch when it is read."""

    id: str
    filename: str
    """At Gemini: its display name."""
    purpose: str
    """At Gemini: its media type."""
    created_at: float
    expires_at: float | None
    path: Path | None = None
    size: int | None = None
    """Bytes; None while nobody has asked how long a result file is."""
    batch: Batch | None = None
    errors: bool = False
    """True: the error file of `batch`; False: its output file."""

    def gone(self, now: float, life: float) -> bool:
        """Whether it has expired; `life`: of uploads, 0: as the vendor or the file says."""
        if self.path is not None and life and now >= self.created_at + life:
            return True
        return self.expires_at is not None and now >= self.expires_at


@dataclass(slots=True)
class Workspace:
    """Everything that one key sees, in order of creation."""

    key: str
    """Digest of the key, never the key itself."""
    files: dict[str, File] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)


class Store:
    """All workspaces and the folder with the contents."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / _FOLDER
        self._workspaces: dict[tuple[Provider, str], Workspace] = {}
        self._clear_disk()

    def workspace(self, provider: Provider, api_key: str) -> Workspace:
        """The workspace of a key, made at its first use."""
        key = digest_of(api_key)
        found = self._workspaces.get((provider, key))
        if found is None:
            found = self._workspaces[provider, key] = Workspace(key)
        return found

    def batches(self) -> Iterator[Batch]:
        """The batches of all workspaces."""
        for workspace in self._workspaces.values():
            yield from workspace.batches.values()

    def files(self) -> dict[Provider, list[str]]:
        """The ids of all files, over all workspaces."""
        found: dict[Provider, list[str]] = {}
        for (provider, _), workspace in self._workspaces.items():
            found.setdefault(provider, []).extend(workspace.files)
        return found

    def uploads(self, gone: Callable[[File], bool]) -> Counter[Provider]:
        """How many uploaded files are kept for each provider, over all workspaces.

        `gone` says which have expired.
        """
        kept: Counter[Provider] = Counter()
        for (provider, _), workspace in self._workspaces.items():
            files = workspace.files.values()
            kept[provider] += sum(file.path is not None and not gone(file) for file in files)
        return kept

    def new_path(self, kind: str) -> Path:
        """A fresh path for a file of `kind` (it names the folder)."""
        return self.root / kind / secrets.token_hex(12)

    def link(self, path: Path) -> Path:
        """A second name for a stored file, so that deleting the first leaves the content."""
        held = self.new_path("batches")
        os.link(path, held)
        return held

    def drop(self, path: Path) -> None:
        """Take a name that `link` gave off the disk."""
        path.unlink()

    def reset(self) -> None:
        """Forget everything."""
        self._workspaces.clear()
        self._clear_disk()

    def _clear_disk(self) -> None:
        if self.root.exists():
            shutil.rmtree(self.root)
        for kind in ("files", "batches", "records"):
            (self.root / kind).mkdir(parents=True)


def new_id(prefix: str) -> str:
    """An id in the vendors' manner: a prefix and 24 hexadecimal digits."""
    return prefix + secrets.token_hex(12)


def read_blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Whole lines of a file, about BLOCK_BYTES at a time, each with its offset.

    A line longer than a block comes as a block of its own.
    """
    offset = 0
    rest: list[bytes] = []
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(BLOCK_BYTES):
            cut = chunk.rfind(b"\n") + 1
            if not cut:
                rest.append(chunk)
                continue
            block = b"".join((*rest, memoryview(chunk)[:cut]))
            rest = [chunk[cut:]]
            yield offset, block
            offset += len(block)
    if last := b"".join(rest):
        yield offset, last


def split_lines(block: bytes) -> list[bytes]:
    """The lines of a block, without their newlines."""
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines
