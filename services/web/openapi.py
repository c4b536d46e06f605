"""The description of the API in OpenAPI 3.1, made of the routes: GET /openapi.json."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.web.errors import ANTHROPIC_PREFIX
from services.web.operations import Body, FormBody, Operation, StreamedBody
from services.web.shapes import SHAPES, ref

OPENAPI = "/openapi.json"

_JSON, _LINES = "application/json", "application/jsonl"
_MESSAGE_LINES = "application/x-jsonl"
_TEMPLATE = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{([a-z_]+)(?::[a-z]+)?\}")
# Of any operation: wrong, no key, a limit, our fault, a service that is away.
_ALWAYS = (400, 401, 429, 500, 503, 504)
_WORDS = {
    400: "What is asked for is wrong.",
    401: "No key, or one that is not valid.",
    402: "Credits or a budget are spent.",
    403: "The key may not do this.",
    404: "Not there, or another account's.",
    408: "The upload said nothing for too long, or trickled.",
    409: "Not in this state.",
    413: "Larger than it may be.",
    415: "Compressed.",
    429: "A limit of the account, or its credits.",
    500: "Our fault.",
    503: "A service is away.",
    504: "A service did not answer in time.",
}


def shown_path(path: str) -> str:
    """A path as OpenAPI has it: "/v1/models/{model}"."""
    return _PARAMETER.sub(r"{\1}", path)


def describe(routes: Sequence[Operation]) -> dict[str, Any]:
    """The whole description."""
    bodies = [each.body for each in routes if isinstance(each.body, type)]
    _, structs = msgspec.json.schema_components(bodies, ref_template=_TEMPLATE)
    paths: dict[str, dict[str, Any]] = {}
    for each in routes:
        paths.setdefault(shown_path(each.path), {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "polybatch",
            "version": "1",
            "description": "OpenAI's and Anthropic's batch APIs, for the models of all providers.",
        },
        "security": [{"bearer": []}, {"key": []}],
        "paths": paths,
        "components": {
            "schemas": {**SHAPES, **structs},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _operation(route: Operation) -> dict[str, Any]:
    anthropic = route.path.startswith(ANTHROPIC_PREFIX)
    described: dict[str, Any] = {
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-z]+', '_', route.path)}".rstrip("_"),
        "summary": route.summary,
        "tags": ["Anthropic" if anthropic else "OpenAI"],
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in _PARAMETER.findall(route.path)
            ),
            *(
                {"name": each.name, "in": "query", "required": False, "schema": each.schema}
                for each in route.query
            ),
        ],
        "responses": _responses(route, anthropic=anthropic),
    }
    if route.body is not None:
        described["requestBody"] = {
            "required": not route.optional_body,
            "content": _content(route.body),
        }
    return described


def _responses(route: Operation, *, anthropic: bool) -> dict[str, Any]:
    lines = _MESSAGE_LINES if anthropic else _LINES
    # Lines are no JSON document: OpenAPI has no schema for what each is.
    good: Mapping[str, Any] = (
        {lines: {"schema": {"type": "string"}}}
        if route.lines
        else {_JSON: {"schema": ref(route.answer)}}
    )
    error = {_JSON: {"schema": ref("AnthropicError" if anthropic else "OpenAIError")}}
    statuses = sorted({*_ALWAYS, *route.refusals})
    return {
        "200": {"description": "Done.", "content": good},
        **{str(each): {"description": _WORDS[each], "content": error} for each in statuses},
    }


def _content(body: Body) -> dict[str, Any]:
    if isinstance(body, FormBody):
        form = {
            "type": "object",
            "required": list(body.required),
            "properties": {
                **body.fields,
                body.file: {"type": "string", "contentMediaType": "application/octet-stream"},
            },
        }
        return {"multipart/form-data": {"schema": form}}
    if isinstance(body, StreamedBody):
        return {_JSON: {"schema": body.schema}}
    return {_JSON: {"schema": ref(body.__name__)}}
