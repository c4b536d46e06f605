"""What people type to find batches, as a filter of ListBatches."""

from __future__ import annotations

import re

# team=search, team="two words"; else a part of the name.
_PART = re.compile(r'([A-Za-z0-9_.\-]+)=("[^"]*"|\S*)|"([^"]*)"|(\S+)')
# As many as a filter takes.
_MOST = 20
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def filter_of(asked: str) -> str:
    """All of it has to hold: words are parts of the name, `key=value` is of the metadata."""
    found = []
    for key, value, words, word in _PART.findall(asked)[:_MOST]:
        if key:
            name = key if _PLAIN.fullmatch(key) else _quoted(key)
            found.append(f"metadata.{name} = {_quoted(value.strip(chr(34)))}")
        elif words or word:
            found.append(f"name:{_quoted(words or word)}")
    return " AND ".join(found)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
