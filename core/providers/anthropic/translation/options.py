"""The options of a request, in Anthropic's form: tools, the answer's form, effort, randomness."""

from __future__ import annotations

from typing import Any

from core.providers.anthropic.translation.circumstances import Circumstances
from core.providers.anthropic.translation.limits import check_limits
from core.providers.anthropic.translation.settings import add_effort, add_format, add_sampling
from core.providers.anthropic.translation.tools import translate_tool_choice, translate_tools
from core.providers.translation.options import remembered
from core.providers.translation.report import Report

OPTIONS = frozenset(
    {
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "temperature",
        "top_p",
    }
)
"""Those whose translation depends on nothing but each other and the circumstances."""


def _translate(about: Circumstances, given: dict[str, Any], report: Report) -> dict[str, Any]:
    params: dict[str, Any] = {"max_tokens": about.max_tokens}
    model = about.model
    tools = translate_tools(given["tools"], model, report) if "tools" in given else []
    if tools:
        params["tools"] = tools
    choice = translate_tool_choice(
        given.get("tool_choice"), given.get("parallel_tool_calls"), tools, model, report
    )
    if choice is not None:
        params["tool_choice"] = choice
    if "response_format" in given:
        add_format(params, given["response_format"], model, about, report)
    check_limits(params)
    if "reasoning_effort" in given:
        add_effort(params, given["reasoning_effort"], model, about, report)
    add_sampling(params, given, model, report)
    del params["max_tokens"]
    return params


settle_options = remembered(_translate)
"""Takes the circumstances and the options that are given, none of them null."""
