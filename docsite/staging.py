"""The pages of the site, as `make docs` hands them to the site's builder.

README.md, docs/ and every page of the repository that they lead to keep their links. A link to
another file leads to a page that shows it: the site is whole without a code host.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
_CODE = re.compile(r"^ *```.*?^ *```[ ]*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(
    r"(?P<before>\]\(|^\[[^\]]+\]: +|\b(?:src|srcset|href)=\")(?P<link>[^()\s\"]+)", re.MULTILINE
)
_LANGUAGES = {
    ".json": "json",
    ".mjs": "javascript",
    ".proto": "protobuf",
    ".py": "python",
    ".toml": "toml",
    ".yml": "yaml",
}
_UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"


class BrokenLink(Exception):
    """A page has a link to what is not in the repository."""


def stage(folder: Path) -> None:
    """Write the pages and what they show into a new folder.

    Raises BrokenLink. Fragments are the builder's to look at.
    """
    shutil.rmtree(folder, ignore_errors=True)
    waiting = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    seen = set(waiting)
    while waiting:
        source = waiting.pop()
        target = folder / place_of(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix != ".md":
            shutil.copyfile(source, target)
            continue
        if source.suffix != ".md":
            target.write_text(shown(source))
            continue
        linked: list[Path] = []
        target.write_text(relinked(source.read_text(), source, linked.append))
        waiting += [each for each in dict.fromkeys(linked) if each not in seen]
        seen |= {*linked}


def place_of(source: Path) -> PurePosixPath:
    """Where a file of the repository, or a folder, stands on the site."""
    path = PurePosixPath(source.relative_to(ROOT).as_posix())
    if path.parts[0] == "docs":
        path = path.relative_to("docs")
    if path.name == "README.md":
        return path.with_name("index.md")
    if path.suffix in (".md", ".png", ".svg"):
        return path
    # A folder or a name that begins with a dot would be left out of the site.
    parts = [part.removeprefix(".") for part in path.parts]
    return PurePosixPath("files", *parts[:-1], f"{parts[-1]}.md")


def relinked(text: str, source: Path, link_to: Callable[[Path], object]) -> str:
    """A page with its links as they have to be on the site; `link_to` is told of each.

    Raises BrokenLink.
    """

    def moved(found: re.Match[str]) -> str:
        link, hash_, fragment = found["link"].partition("#")
        if not link or re.match(r"[a-z]+:", link):
            return found[0]
        target = Path(os.path.normpath(source.parent / link))
        if not target.exists() or not target.is_relative_to(ROOT):
            raise BrokenLink(f"{source.relative_to(ROOT)}: {link} is not there")
        if (target / "README.md").exists():
            target /= "README.md"
        link_to(target)
        way = os.path.relpath(place_of(target), place_of(source).parent)
        if found["before"].endswith('"'):
            way = re.sub(r"\.md$", ".html", way)
        return f"{found['before']}{way}{hash_}{fragment}"

    parts = [0, *(each for code in _CODE.finditer(text) for each in code.span()), len(text)]
    pieces = [text[start:end] for start, end in pairwise(parts)]
    return "".join(
        _code(piece) if index % 2 else _LINK.sub(moved, piece) for index, piece in enumerate(pieces)
    )


def _code(piece: str) -> str:
    """A code host wants a bar escaped in code in a table; the builder shows the backslash."""
    return piece if piece.lstrip().startswith("```") else piece.replace("\\|", "|")


def shown(source: Path) -> str:
    """The page that shows a file, or what is in a folder."""
    title = source.relative_to(ROOT).as_posix()
    if source.is_dir():
        names = sorted(each.name for each in source.iterdir() if each.is_file())
        return f"{_UNSEARCHED}# {title}\n\n" + "".join(f"- `{name}`\n" for name in names)
    language = _LANGUAGES.get(source.suffix, "text")
    return f"{_UNSEARCHED}# {title}\n\n``````{language}\n{source.read_text()}``````\n"
