"""Spool files of several dispatchers with one data folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.dispatcher.spool_folder import remove_stale_spools, spool_file

HOLDER = """
import sys
from pathlib import Path
from services.dispatcher.spool_folder import spool_file

with spool_file(Path(sys.argv[1]), "shard_1-token") as path:
    path.write_bytes(b"lines")
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_file_is_there_for_the_block(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError

    with spool_file(tmp_path, "shard_1-token") as path:
        path.write_bytes(b"lines")
        assert path.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError), spool_file(tmp_path, "shard_1-token"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_only_what_nobody_holds_is_removed(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    (tmp_path / "shard_2-token").touch()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        os.utime(tmp_path / "shard_1-token", (0, 0))
        remove_stale_spools(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "shard_1-token"]
        holder.kill()
    remove_stale_spools(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
