"""Where a version is written down: each client's manifest, in the form of its ecosystem."""

from __future__ import annotations

import json
import re
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PROJECT = re.compile(r"^project\([^)]*\bVERSION\s+(\S+)", re.MULTILINE)
_GO_CONSTANT = re.compile(r'^const Version = "([^"]+)"', re.MULTILINE)
_POM = "{http://maven.apache.org/POM/4.0.0}"
_NOT_OURS = frozenset({"node_modules", "target", "build", "dist"})


@dataclass(frozen=True, slots=True)
class Declared:
    """A version, and the file that declares it, relative to the root of the repository."""

    file: str
    version: str | None
    """None: the file should declare one, and does not."""


def _pyproject(text: str) -> str | None:
    return _text(tomllib.loads(text).get("project", {}).get("version"))


def _cargo(text: str) -> str | None:
    return _text(tomllib.loads(text).get("package", {}).get("version"))


def _package(text: str) -> str | None:
    return _text(json.loads(text).get("version"))


def _cmake(text: str) -> str | None:
    return match[1] if (match := _PROJECT.search(text)) else None


def _go(text: str) -> str | None:
    return match[1] if (match := _GO_CONSTANT.search(text)) else None


def _pom(text: str) -> str | None:
    project = ET.fromstring(text)
    # A module has its parent's.
    found = project.findtext(f"{_POM}version") or project.findtext(f"{_POM}parent/{_POM}version")
    return found.strip() if found else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


_READERS: dict[str, Callable[[str], str | None]] = {
    "pyproject.toml": _pyproject,
    "Cargo.toml": _cargo,
    "package.json": _package,
    "package-lock.json": _package,
    "CMakeLists.txt": _cmake,
    "pom.xml": _pom,
    # The version of a Go module is its tag: only what it says of itself is written down.
    "client.go": _go,
}


def declared(root: Path) -> Iterator[Declared]:
    """Yields the versions that the suite and each client declare.

    A folder of `clients/` without any manifest that is known here is one that declares none.
    """
    yield Declared("pyproject.toml", _pyproject((root / "pyproject.toml").read_text()))
    for folder in sorted(each for each in (root / "clients").iterdir() if each.is_dir()):
        if _is_private(folder):
            continue
        manifests = list(_manifests(folder))
        if not manifests:
            yield Declared(str(folder.relative_to(root)), None)
        for path in manifests:
            version = _READERS[path.name](path.read_text())
            yield Declared(str(path.relative_to(root)), version)


def _is_private(folder: Path) -> bool:
    """Whether npm is told to refuse to publish it: then it needs no version."""
    package = folder / "package.json"
    return package.exists() and json.loads(package.read_text()).get("private") is True


def _manifests(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in _READERS:
            yield path
        elif path.is_dir() and path.name not in _NOT_OURS and (path / "pom.xml").exists():
            yield path / "pom.xml"
