"""Models of OpenAI's API: what the catalogue has of usable providers, by "provider/model"."""

from __future__ import annotations

from typing import Any

from polybatch.v1 import providers_pb2
from starlette.requests import Request
from starlette.responses import Response

from services.web.client_parts import methods
from services.web.errors import HttpError
from services.web.openai.objects import model_objects
from services.web.responses import json_response
from services.web.upstream import Engine


async def list_all(_request: Request, engine: Engine) -> Response:
    """GET /v1/models."""
    return json_response({"object": "list", "data": await _models(engine)})


async def retrieve(request: Request, engine: Engine) -> Response:
    """GET /v1/models/{model}; its provider may be left out where no other has it."""
    asked = request.path_params["model"]
    models = await _models(engine)
    found = [each for each in models if each["id"] == asked] or [
        each for each in models if each["id"].partition("/")[2] == asked
    ]
    if len(found) != 1:
        raise HttpError(
            404, f"The model '{asked[:100]}' does not exist.", "model_not_found", "model"
        )
    return json_response(found[0])


async def _models(engine: Engine) -> list[dict[str, Any]]:
    answer = await engine.call(methods.LIST_PROVIDERS, providers_pb2.ListProvidersRequest())
    return model_objects(answer)
