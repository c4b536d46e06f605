"""The tables of docs/http-api.md; `make docs` writes them.

Each stands between `<!-- NAME: ... -->` and `<!-- end -->`, and is made of the routes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from services.web.errors import ANTHROPIC_PREFIX
from services.web.openapi import describe, shown_path
from services.web.operations import FormBody, Operation
from services.web.routes import ROUTES

_PLACE = re.compile(r"(<!-- (OpenAI|Anthropic): [^\n]* -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str) -> str:
    """The page with its tables as the routes have them now."""
    return _PLACE.sub(lambda found: f"{found[1]}{_table(found[2])}{found[3]}", page)


def _table(api: str) -> str:
    ours = [
        each for each in ROUTES if each.path.startswith(ANTHROPIC_PREFIX) == (api == "Anthropic")
    ]
    rows = [f"| `{each.method} {shown_path(each.path)}` | {_words(each)} |" for each in ours]
    return "\n".join(["| route | what it does |", "|---|---|", *rows, ""])


def _words(route: Operation) -> str:
    named = [
        f"`{each.name}`" + (f" ({each.words})" if each.words else "") for each in route.query
    ] or _fields(route)
    return route.summary + (f": {', '.join(named)}" if named else "")


def _fields(route: Operation) -> Sequence[str]:
    """Of a JSON body; those that have to be there are in bold."""
    if not isinstance(route.body, type) or isinstance(route.body, FormBody):
        return ()
    schema = describe([route])["components"]["schemas"][route.body.__name__]
    needed = schema.get("required", ())
    return [f"**`{name}`**" if name in needed else f"`{name}`" for name in schema["properties"]]
