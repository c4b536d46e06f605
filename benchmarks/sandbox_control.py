"""Calls of the sandbox's own interface."""

from __future__ import annotations

import json
import urllib.request
from typing import Any


def called(url: str, content: Any = None) -> Any:
    """The JSON that it answers: to a POST where there is content, otherwise to a GET."""
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())
