"""litellm's transformations, called as litellm.completion calls them."""

from __future__ import annotations

import logging
import os
import warnings
from copy import deepcopy
from typing import Any

import pytest

# Or it fetches its price map when it is imported.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"


class Reference:
    """litellm's transformations both ways: Anthropic's, and those of Responses."""

    def __init__(self) -> None:
        """Skips the tests where litellm is not installed: make differential installs it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            litellm = pytest.importorskip("litellm", reason="make differential installs litellm")
            from litellm.llms.anthropic.chat.transformation import AnthropicConfig
            from litellm.responses.litellm_completion_transformation.transformation import (
                LiteLLMCompletionResponsesConfig,
            )
        logging.getLogger("LiteLLM").setLevel(logging.ERROR)
        litellm.drop_params = True
        self._litellm = litellm
        self._config = AnthropicConfig()
        self._responses = LiteLLMCompletionResponsesConfig

    def params(self, model_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Messages params of a chat completion request."""
        options = deepcopy(body)
        messages = self._config.translate_developer_role_to_system_role(options.pop("messages"))
        del options["model"]
        mapped = self._config.map_openai_params(
            non_default_params=options, optional_params={}, model=model_id, drop_params=True
        )
        params: dict[str, Any] = self._config.transform_request(
            model=model_id, messages=messages, optional_params=mapped, litellm_params={}, headers={}
        )
        return params

    def completion(self, message: dict[str, Any]) -> dict[str, Any]:
        """The chat completion that a message becomes."""
        import httpx

        response = self._config.transform_parsed_response(
            completion_response=deepcopy(message),
            raw_response=httpx.Response(200, headers={}),
            model_response=self._litellm.ModelResponse(),
        )
        completion: dict[str, Any] = response.model_dump()
        return completion

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        """The chat completion request that a Responses request becomes."""
        options = deepcopy(body)
        found = self._responses.transform_responses_api_request_to_chat_completion_request(
            model=options.pop("model"),
            input=options.pop("input"),
            responses_api_request=options,
            custom_llm_provider="openai",
        )
        chat: dict[str, Any] = _plain(found)
        return chat

    def response(self, completion: dict[str, Any]) -> dict[str, Any]:
        """The Response that a chat completion becomes."""
        found = self._responses.transform_chat_completion_response_to_responses_api_response(
            request_input="hi",
            responses_api_request={},
            chat_completion_response=self._litellm.ModelResponse(**deepcopy(completion)),
        )
        response: dict[str, Any] = found.model_dump()
        return response

    def model(self, model_id: str) -> dict[str, Any] | None:
        """What the model map says of a model; None if it is not in it."""
        known: dict[str, Any] | None = self._litellm.model_cost.get(model_id)
        return known


def _plain(value: Any) -> Any:
    """litellm's objects as JSON has them."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(exclude_none=True)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
