"""A start on a full disk says so."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from core.settings import Settings
from services.supervisor.report import warn_of_a_full_disk
from tests.support.stores.small_disk import MIB, filled, small_disk


def told(disk: Path, reserve: int) -> bool:
    with capture_logs() as logs:
        warn_of_a_full_disk(Settings(data_dir=disk, disk_reserve=reserve))
    return [each["event"] for each in logs] == ["disk_full"]


def test_a_disk_below_the_reserve_is_told_of(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4 * MIB) as disk:
        assert not told(disk, 2 * MIB)
        with filled(disk, MIB):
            assert told(disk, 2 * MIB)
            assert not told(disk, 0)


def test_a_disk_that_takes_no_more_files_is_told_of(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4 * MIB, files=2) as disk:
        assert not told(disk, 0)
        (disk / "last").touch()
        assert told(disk, 0)
