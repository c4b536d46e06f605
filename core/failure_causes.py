"""Why lines failed, so that equal causes are told once: a message without what differs.

Pure functions, for whoever lists, filters or retries failed lines by their cause.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

GAP = "..."
"""Stands in a message for what differs from line to line."""

_MESSAGE_CHARS = 500
"""Of a message that are compared, and shown of a cause."""
_ID_CHARS = 12

# Each alternative ends where it fails first, so the whole is linear in the message.
_VARIABLE = re.compile(
    r"""
      [a-z][a-z0-9+.-]{1,9}://[^\s"'`<>]+                          # urls
    | (?<![\w@.+-])[\w.+-]{1,64}@[\w-]+\.[\w.-]+                   # mail addresses
    | "[^"]*(?:"|\Z) | `[^`]*(?:`|\Z) | “[^”]*(?:”|\Z)             # quoted texts
    | (?<!\w)'[^']*'(?!\w)                                         # but no apostrophes
    | (?<!\w)[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?!\w)
    | (?<!\w)\d{4}-\d\d-\d\d                                       # dates
      (?:[ T]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[ ]?UTC|[+-]\d\d:?\d\d)?)?(?!\w)
    | (?<!\w)[0-9a-fA-F]{8,}(?!\w)
    | (?<!\w)[-+]?\d+(?:[.,:/]\d+)*%?(?!\w)                         # numbers, times, ratios
    | (?<!\w)(?:[^\W\d]+\d|\d)[\w-]*                               # ids, names with digits
    """,
    re.VERBOSE,
)
_ITEM = re.compile(r"(?<=[^\W\d]|\])\.\d+(?=[.:,\s]|\Z)")
_REPEATED = re.compile(r"\.\.\.(?:[\s,;:/|&={}\[\]()<>-]*(?:\b(?:and|or)\b\s*)?\.\.\.)+")
_SPACES = re.compile(r"\s+")
_INDEX = re.compile(r"(?<=\[)\d+(?=\])")
_KEYED = re.compile(r"\[(?:\"[^\"]*\"|'[^']*')\]")
# As the words for what is wrong with a line begin (core.batchfile.verdict, LineRejected).
_PATH = re.compile(
    r"((?:body|params|request|custom_id|key|method|url|provider|model|line)(?:[.\[][^\s:]*)?): "
)


class Cause(NamedTuple):
    """What lines that failed for the same reason have in common."""

    provider: str
    """Empty where the line does not tell it, such as one that failed the check at upload."""
    code: str
    field: str
    """Such as "body.messages[...].content"; empty: none in particular."""
    message: str
    """With GAP in place of what differs."""

    @property
    def id(self) -> str:
        """The same for equal causes of all batches: hexadecimal."""
        whole = "\0".join(self).encode(errors="replace")
        return hashlib.sha256(whole).hexdigest()[:_ID_CHARS]


def normalise(message: str) -> str:
    """A message with GAP in place of quoted texts, urls, ids, dates and numbers.

    What stands beside each other, such as the items of a list, becomes one gap. At most
    500 characters of the message count.
    """
    shown = _ITEM.sub(f"[{GAP}]", message[:_MESSAGE_CHARS])
    shown = _VARIABLE.sub(GAP, shown)
    return _REPEATED.sub(GAP, _SPACES.sub(" ", shown)).strip()


@lru_cache(maxsize=1024)
def cause_of(provider: str, code: str, field: str, message: str) -> Cause:
    """The cause of a line's failure.

    `field`: as the provider's answer names it; empty: it is read off the head of a message that
    begins with a path, as those of the check at upload do.
    """
    if not field and (found := _PATH.match(message)):
        field, message = found[1], message[found.end() :]
    field = _KEYED.sub(f"[{GAP}]", field[:_MESSAGE_CHARS])
    field = _ITEM.sub(f"[{GAP}]", _INDEX.sub(GAP, field))
    return Cause(provider, code, field, normalise(message))


def cause_id(provider: str, code: str, field: str, message: str) -> str:
    """The id of a line's cause; arguments as of `cause_of`."""
    return cause_of(provider, code, field, message).id


def providers_by_model(groups: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Which provider a result line is of, by the model that it names.

    `groups`: as File.groups. A model that the file sends to several providers is left out, so
    causes of its lines name none.
    """
    found: dict[str, str] = {}
    for group in groups:
        model, provider = group["model"], group["provider"]
        if found.setdefault(model, provider) != provider:
            found[model] = ""
    return found
