"""What has to hold before a release: each check tells what is wrong, and the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from tools.release.versions import Declared

_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_SECTION = re.compile(r"(\S+) \((unreleased|\d{4}-\d{2}-\d{2})\)")


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the changelog."""

    version: str
    day: str
    """Of the release, as YYYY-MM-DD, or "unreleased"."""


def sections(changelog: str) -> list[Section | str]:
    """The sections of the changelog, newest first; a heading that is none, as it stands."""
    found: list[Section | str] = []
    for heading in _HEADING.findall(changelog):
        match = _SECTION.fullmatch(heading.strip())
        found.append(Section(match[1], match[2]) if match else heading)
    return found


def version_problems(version: str) -> Iterator[str]:
    """A version has three numbers: every ecosystem reads that in the same way."""
    if not _VERSION.fullmatch(version):
        yield f"{version!r} is no version such as 1.2.3: say make release VERSION=1.2.3"


def tree_problems(status: str) -> Iterator[str]:
    """`status`: what `git status --porcelain` prints. What is released is a commit."""
    if status.strip():
        files = ", ".join(line[3:] for line in status.splitlines()[:5])
        yield f"the tree is not clean ({files}): commit or remove what is there"


def tag_problems(version: str, tags: Iterable[str]) -> Iterator[str]:
    """A version is released once."""
    if f"v{version}" in set(tags):
        yield f"the tag v{version} exists: take the next version"


def declaration_problems(version: str, declared: Iterable[Declared]) -> Iterator[str]:
    """All that is released together has the same version."""
    for each in declared:
        if each.version is None:
            yield f"{each.file} declares no version: write {version} there"
        elif each.version != version:
            yield f"{each.file} says {each.version}: write {version} there"


def changelog_problems(version: str, changelog: str, today: date) -> Iterator[str]:
    """The changelog's first section is the release's, and has a day that has come."""
    found = sections(changelog)
    for heading in (each for each in found if isinstance(each, str)):
        yield f"CHANGELOG.md: '## {heading}' is not of the form '## 1.2.3 (2026-01-31)'"
    first = found[0] if found else None
    wanted = f"'## {version} ({today})'"
    if not isinstance(first, Section) or first.version != version:
        yield f"CHANGELOG.md does not begin with a section {wanted}: write one"
    elif first.day == "unreleased":
        yield f"CHANGELOG.md says that {version} is unreleased: make the heading {wanted}"
    else:
        try:
            day = date.fromisoformat(first.day)
        except ValueError:
            yield f"CHANGELOG.md: {first.day} is no day: make the heading {wanted}"
        else:
            if day > today:
                yield f"CHANGELOG.md: {day} has not come yet: make the heading {wanted}"


def base_problems(version: str, changelog: str, images: Iterable[str]) -> Iterator[str]:
    """`images`: the names in protos/released. The contract is held against the last release."""
    names = sorted(images)
    if len(names) != 1:
        yield f"protos/released holds {', '.join(names) or 'nothing'}: one image has to be there"
        return
    base = names[0].removesuffix(".binpb")
    earlier = [
        each.version
        for each in sections(changelog)
        if isinstance(each, Section) and each.version != version
    ]
    if earlier and base != earlier[0]:
        yield (
            f"protos/released holds the contract of {base}, and {earlier[0]} was released last: "
            f"put the image of {earlier[0]} there, buf build of its tag"
        )
