"""Facts about the machine that the figures depend on."""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path

from benchmarks.figures import MeasurementFailed

_MOUNTS = Path("/proc/mounts")


def facts(folder: Path) -> str:
    """A line on processor, Python and disk."""
    load = "/".join(f"{each:.1f}" for each in os.getloadavg())
    return (
        f"{os.cpu_count()} cores ({_processor()}), Python {platform.python_version()}, "
        f"{platform.system()} {platform.release()}, data in {folder} ({filesystem(folder)}), "
        f"load before the run {load}"
    )


def disk_folder() -> Path:
    """Where temporary files lie on a disk: the usual place, unless that is memory."""
    usual = Path(tempfile.gettempdir())
    lasting = Path("/var/tmp")
    return lasting if filesystem(usual) == "tmpfs" and lasting.is_dir() else usual


def filesystem(path: Path) -> str:
    """Type of the file system that a path is on, such as "ext4"."""
    if not _MOUNTS.exists():
        return "unknown file system"
    found = (Path("/"), "unknown file system")
    for line in _MOUNTS.read_text().splitlines():
        _device, place, kind, *_ = line.split()
        mount = Path(place)
        if path.resolve().is_relative_to(mount) and len(mount.parts) >= len(found[0].parts):
            found = (mount, kind)
    return found[1]


def peak_memory(pid: int) -> int:
    """The most memory that a process ever had resident, in bytes."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError as error:
        raise MeasurementFailed(f"no memory figures of process {pid}: {error}") from error
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise MeasurementFailed(f"process {pid} has ended")


def processor_seconds(pid: int) -> float:
    """What a process has used of the processor so far, in user and system mode."""
    try:
        # The command in parentheses may have blanks.
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError as error:
        raise MeasurementFailed(f"no processor times of process {pid}: {error}") from error
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def tree_seconds(pid: int) -> float:
    """The same of a process with all that it has started, those that have ended included."""
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError as error:
        raise MeasurementFailed(f"no processor times of process {pid}: {error}") from error
    own = sum(map(int, values[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(map(_tree_seconds_left, children))


def _tree_seconds_left(pid: int) -> float:
    try:
        return tree_seconds(pid)
    except MeasurementFailed:
        # It has just ended: what it used counts as its parent's from now on.
        return 0.0


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
