"""Where our requests differ from litellm's, and why: each entry is one difference.

Three tables. REFUSALS: what we refuse and litellm sends, having dropped or fixed
something without a word. ALIKE: requests that mean the same to OpenAI and that litellm sends
differently; each function makes one of a request, and litellm has to send that as we send
the first. PARAMS: differences in what is sent; each function takes one away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.providers.catalogue import Model

Body = dict[str, Any]
Params = dict[str, Any]

# (reason, field without places in lists): why
REFUSALS: dict[tuple[str, str], str] = {
    ("unsupported_parameter", "body.audio"): "litellm drops it in silence",
    ("unsupported_parameter", "body.frequency_penalty"): "litellm drops it in silence",
    ("unsupported_parameter", "body.function_call"): "litellm drops it in silence",
    ("unsupported_parameter", "body.functions"): "litellm drops it in silence",
    ("unsupported_parameter", "body.logit_bias"): "litellm drops it in silence",
    ("unsupported_parameter", "body.logprobs"): "litellm drops it in silence",
    ("unsupported_parameter", "body.messages[].name"): "litellm drops it in silence",
    ("unsupported_parameter", "body.modalities"): "litellm drops it in silence",
    ("unsupported_parameter", "body.moderation"): "litellm drops it in silence",
    ("unsupported_parameter", "body.n"): "litellm drops it in silence: one answer, not n",
    ("unsupported_parameter", "body.prediction"): "litellm drops it in silence",
    ("unsupported_parameter", "body.presence_penalty"): "litellm drops it in silence",
    ("unsupported_parameter", "body.reasoning_effort"): (
        "Anthropic refuses thinking beside a forced tool (models before 4.8), before the rest "
        "of an assistant's message, and right after results of tools without the thoughts that "
        "led to the call; litellm sends all three"
    ),
    ("unsupported_parameter", "body.response_format.json_schema"): (
        "Anthropic enforces no schema on the rest of an assistant's message; litellm sends it"
    ),
    ("unsupported_parameter", "body.response_format.type"): "litellm drops json_object in silence",
    ("unsupported_parameter", "body.temperature"): (
        "models from 4.7 on take none (litellm drops it in silence), and none beside thinking "
        "(litellm sends it, Anthropic refuses it)"
    ),
    ("unsupported_parameter", "body.tool_choice"): (
        "models that cannot be made to use a tool; litellm sends auto in silence"
    ),
    ("unsupported_parameter", "body.top_logprobs"): "litellm drops it in silence",
    ("unsupported_parameter", "body.top_p"): (
        "models from 4.7 on take none, others not beside temperature, and below 0.95 not beside "
        "thinking; litellm drops it in silence or sends it"
    ),
    ("unsupported_parameter", "body.verbosity"): "litellm drops it in silence",
    ("unsupported_parameter", "body.web_search_options"): (
        "litellm makes it Anthropic's web search tool, which is billed and answers in another form"
    ),
    ("unsupported_value", "body.max_tokens"): "over the model's most: Anthropic refuses it",
    ("unsupported_value", "body.max_completion_tokens"): "over the model's most, likewise",
    ("unsupported_value", "body.reasoning_effort"): (
        "models that cannot stop to think or lack the level, or no room for thoughts; litellm "
        "drops it in silence, raises or sends what Anthropic refuses"
    ),
    ("unsupported_value", "body.stop[]"): "litellm drops a stop of white space in silence",
    ("unsupported_value", "body.temperature"): "litellm sends more than 1, Anthropic refuses it",
    ("unsupported_value", "body.user"): "litellm drops email addresses in silence",
    ("unsupported_schema", "SCHEMA"): (
        "constraints that Anthropic does not enforce; litellm turns them into words of the "
        "description, and closes objects that were to be open"
    ),
    ("unsupported_content", "body.messages[].content[].type"): "litellm drops audio in silence",
    ("unsupported_file_id", "body.messages[].content[].file.file_id"): (
        "litellm sends OpenAI's file id as one of Anthropic's container"
    ),
    ("unsupported_url", "body.messages[].content[].image_url.url"): (
        "litellm fetches http images itself; a batch's check fetches nothing"
    ),
    ("unsupported_tool", "body.tools[].type"): "litellm raises as well: custom tools",
    ("unsupported_prefill", "body.messages[].role"): "litellm sends it, newer models refuse it",
    ("invalid_arguments", "body.messages[].tool_calls[].function.arguments"): (
        "litellm raises as well, but takes empty arguments for {} and lists as they are"
    ),
    ("tool_call_without_result", "body.messages[].tool_calls[]"): (
        "litellm sends it, Anthropic refuses it"
    ),
    ("empty_content", "body.messages[].content"): (
        "litellm sends a text of its own in its place, Anthropic refuses it"
    ),
    ("first_message_not_user", "body.messages[].role"): "litellm sends it, Anthropic refuses it",
    ("missing_user_message", "body.messages"): "litellm raises as well",
    ("missing_tools", "body.tool_choice"): "litellm sends a choice among no tools",
}


def _blank(text: Any) -> bool:
    return isinstance(text, str) and not text.strip()


def system_first(body: Body) -> Body:
    """Later instructions join the system prompt (translation.md); litellm leaves them in
    the conversation, as user's words for models that take no system turns there."""
    roles = ("system", "developer")
    messages = body["messages"]
    first = [message for message in messages if message["role"] in roles]
    return body | {"messages": first + [each for each in messages if each["role"] not in roles]}


def refusals_said(body: Body) -> Body:
    """A refusal is what the assistant said; litellm drops it, and the turn with it."""

    def said(message: Body) -> Body:
        if message["role"] != "assistant":
            return message
        rest = {key: value for key, value in message.items() if key != "refusal"}
        if message.get("refusal"):
            rest["content"] = message["refusal"]
        if isinstance(rest["content"], list):
            rest["content"] = [
                {"type": "text", "text": part.get("text") or part["refusal"]}
                for part in rest["content"]
            ]
        return rest

    return body | {"messages": [said(message) for message in body["messages"]]}


def results_filled(body: Body) -> Body:
    """An empty text in a tool's result says nothing; litellm sends it, Anthropic refuses it."""

    def filled(message: Body) -> Body:
        content = message.get("content")
        if message["role"] != "tool" or not isinstance(content, list):
            return message
        return message | {"content": [p for p in content if not _blank(p["text"])] or ""}

    return body | {"messages": [filled(message) for message in body["messages"]]}


def calls_alone(body: Body) -> Body:
    """An empty text beside tool calls says nothing; litellm sends a text of its own."""

    def alone(message: Body) -> Body:
        if not message.get("tool_calls") or not _blank(message.get("content")):
            return message
        return message | {"content": None}

    return body | {"messages": [alone(message) for message in body["messages"]]}


def instructions_filled(body: Body) -> Body:
    """An empty instruction says nothing; litellm keeps the empty prompt of it at times."""
    return body | {
        "messages": [
            message
            for message in body["messages"]
            if message["role"] not in ("system", "developer") or not _blank(message["content"])
        ]
    }


def one_limit(body: Body) -> Body:
    """Of two limits max_completion_tokens counts; with litellm the one that stands last."""
    if "max_completion_tokens" not in body:
        return body
    return {key: value for key, value in body.items() if key != "max_tokens"}


def defaults_left_out(body: Body) -> Body:
    """A temperature or top_p of 1 is the default of both vendors; litellm sends it, which
    Anthropic refuses beside the other one or thinking."""
    return {
        key: value
        for key, value in body.items()
        if key not in ("temperature", "top_p") or value != 1
    }


def choice_among_tools(body: Body) -> Body:
    """Without tools there is nothing to choose; litellm sends the choice, which Anthropic
    refuses."""
    if body.get("tools"):
        return body
    return {k: v for k, v in body.items() if k not in ("tool_choice", "parallel_tool_calls")}


def parallel_by_default(body: Body) -> Body:
    """Parallel calls are the default; litellm says so in words."""
    if body.get("parallel_tool_calls") is not True:
        return body
    return {key: value for key, value in body.items() if key != "parallel_tool_calls"}


def called_tools_declared(body: Body) -> Body:
    """Anthropic wants tools where there are calls: we declare those that were called, and
    forbid them, as OpenAI does without tools; litellm declares a tool named dummy_tool,
    which the model may call."""
    calls = [call for message in body["messages"] for call in message.get("tool_calls") or ()]
    if body.get("tools") or not calls:
        return body
    names = dict.fromkeys(call["function"]["name"] for call in calls)
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return body | {"tools": tools, "tool_choice": "none"}


ALIKE: tuple[Callable[[Body], Body], ...] = (
    system_first,
    refusals_said,
    results_filled,
    calls_alone,
    instructions_filled,
    one_limit,
    defaults_left_out,
    choice_among_tools,
    parallel_by_default,
    called_tools_declared,
)


class Case:
    """One request, and what both make of it. Functions of PARAMS change `theirs`."""

    def __init__(self, model: Model, body: Body, mine: Params, theirs: Params) -> None:
        self.model = model
        self.body = body
        self.mine = mine
        self.theirs = theirs


def type_custom(case: Case) -> None:
    """litellm names the type of tools, which is the default."""
    for tool in case.theirs.get("tools", ()):
        if tool.get("type") == "custom":
            del tool["type"]


def no_properties(case: Case) -> None:
    """litellm adds empty properties to a schema that has none."""
    for mine, theirs in _tools(case):
        schema = theirs["input_schema"]
        if "properties" not in mine["input_schema"] and schema.get("properties") == {}:
            del schema["properties"]


def strict_tools(case: Case) -> None:
    """We pass `strict` on, with the schema in the form that it wants; litellm drops it."""
    for mine, theirs in _tools(case):
        if mine.get("strict"):
            theirs["strict"] = True
            if closed(theirs["input_schema"]) == closed(mine["input_schema"]):
                theirs["input_schema"] = mine["input_schema"]


def joined_prompt(case: Case) -> None:
    """Instructions are joined, a blank line between; litellm sends a block for each."""
    for params in (case.mine, case.theirs):
        if isinstance(params.get("system"), list):
            params["system"] = "\n\n".join(block["text"] for block in params["system"])


def titles(case: Case) -> None:
    """We give the model a file's name; litellm drops it."""
    for mine, theirs in _blocks(case):
        if mine.get("type") == "document" and "title" in mine:
            theirs["title"] = mine["title"]


def empty_results(case: Case) -> None:
    """The content of a tool's result may be left out; litellm sends an empty one."""
    for mine, theirs in _blocks(case):
        if mine.get("type") != "tool_result" or "content" in mine:
            continue
        if theirs.get("content") == "":
            del theirs["content"]


def prefill_inner_space(case: Case) -> None:
    """Only the end of a prefill must have no white space; litellm strips all its texts."""
    if case.mine["messages"][-1]["role"] == "assistant":
        for mine, theirs in list(_blocks(case))[-2:]:
            if mine.get("type") == "text" and mine["text"].rstrip() == theirs.get("text"):
                theirs["text"] = mine["text"]


def thoughts_shown(case: Case) -> None:
    """litellm asks for summaries of the thoughts; OpenAI's form has no place for them."""
    case.theirs.get("thinking", {}).pop("display", None)


def no_effort(case: Case) -> None:
    """reasoning_effort none: models that think by themselves are told not to; litellm lets
    them think."""
    if case.body.get("reasoning_effort") == "none" and case.model.no_thinking != "omitted":
        case.theirs.setdefault("thinking", {"type": case.model.no_thinking})


def budget_below_limit(case: Case) -> None:
    """The budget leaves a quarter of max_tokens for the answer; litellm leaves none, or sends
    more than max_tokens, which Anthropic refuses."""
    budget = case.theirs.get("thinking", {}).get("budget_tokens", 0)
    room = case.mine["max_tokens"] * 3 // 4
    if budget > room:
        case.theirs["thinking"]["budget_tokens"] = room


def most_tokens(case: Case) -> None:
    """Without a limit the model's most is sent; with reasoning_effort litellm sends the
    budget and 4,096 more."""
    if not case.body.keys() & {"max_tokens", "max_completion_tokens"}:
        case.theirs["max_tokens"] = case.model.max_output


def output_format(case: Case) -> None:
    """Structured output has left beta: output_config.format; litellm sends output_format,
    definitions in their places, without minItems, and drops what the format is for."""
    case.theirs.pop("json_mode", None)
    theirs = case.theirs.pop("output_format", None)
    mine = case.mine.get("output_config", {}).get("format")
    if theirs and mine and closed(theirs["schema"]) == closed(mine["schema"]):
        case.theirs.setdefault("output_config", {})["format"] = mine


PARAMS: tuple[Callable[[Case], None], ...] = (
    type_custom,
    no_properties,
    strict_tools,
    joined_prompt,
    titles,
    empty_results,
    prefill_inner_space,
    thoughts_shown,
    no_effort,
    most_tokens,
    budget_below_limit,
    output_format,
)


def _tools(case: Case) -> list[tuple[Params, Params]]:
    return list(zip(case.mine.get("tools", ()), case.theirs.get("tools", ()), strict=False))


def _blocks(case: Case) -> list[tuple[Params, Params]]:
    mine = [block for turn in case.mine["messages"] for block in turn["content"]]
    theirs = [block for turn in case.theirs["messages"] for block in turn["content"]]
    return list(zip(mine, theirs, strict=False))


def closed(schema: Any, definitions: dict[str, Any] | None = None) -> Any:
    """A schema without words and minItems, objects closed, definitions in their places."""
    if isinstance(schema, list):
        return [closed(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    definitions = schema.get("$defs", definitions)
    if "$ref" in schema and definitions is not None:
        return closed(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    found = {
        "anyOf" if key == "oneOf" else key: closed(value, definitions)
        for key, value in schema.items()
        if key not in ("description", "minItems", "$defs")
    }
    return found | {"additionalProperties": False} if found.get("type") == "object" else found
