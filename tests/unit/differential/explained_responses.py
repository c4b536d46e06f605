"""Where our translation of /v1/responses differs from litellm's, and why.

REFUSALS: what we refuse and litellm sends, having dropped or fixed something without a word.
CHATS: differences in the chat completion that is made of a request; RESPONSES: in the Response
that is made of a chat completion. Each function takes one difference away.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Body = dict[str, Any]

# (reason, field without places in lists): why
REFUSALS: dict[tuple[str, str], str] = {
    ("unsupported_parameter", "body.include[]"): "litellm drops it in silence",
    ("unsupported_parameter", "body.input[].name"): "litellm drops it in silence",
    ("unsupported_parameter", "body.previous_response_id"): (
        "litellm looks in a store of its own, and goes on without the earlier turns"
    ),
    ("unsupported_parameter", "body.prompt"): "litellm drops it in silence",
    ("unsupported_parameter", "body.reasoning.summary"): (
        "litellm passes it on as reasoning_summary, which no provider has"
    ),
    ("unsupported_parameter", "body.text.format.type"): "litellm drops it in silence",
    ("unsupported_parameter", "body.top_logprobs"): "litellm drops it in silence",
    ("unsupported_parameter", "body.truncation"): "litellm drops it in silence",
    ("unsupported_file_id", "body.input[].content[].file_id"): (
        "litellm sends OpenAI's file id to another provider"
    ),
    ("unsupported_tool", "body.tools[].type"): (
        "litellm makes a web search an option of the request, and passes others on"
    ),
    ("missing_user_message", "body.input"): "litellm sends a conversation without a message",
    ("missing_tools", "body.tool_choice"): "litellm drops the choice in silence",
}


class Case:
    """One request or answer, and what both make of it."""

    def __init__(self, sent: Body, mine: Body, theirs: Body) -> None:
        self.sent = sent
        self.mine = mine
        self.theirs = theirs


def litellms_words(case: Case) -> None:
    """What litellm tells itself."""
    del case.theirs["custom_llm_provider"]


def limit(case: Case) -> None:
    """OpenAI's newer name of the limit; litellm uses the older, which some models refuse."""
    if "max_tokens" in case.theirs:
        case.theirs["max_completion_tokens"] = case.theirs.pop("max_tokens")


def harmless(case: Case) -> None:
    """What has no effect on the answer is left out and told; litellm passes some of it on."""
    for key in ("user", "safety_identifier", "context_management"):
        case.theirs.pop(key, None)


def no_stream(case: Case) -> None:
    """`stream: false` goes on to the provider's translation; litellm drops it."""
    if case.mine.get("stream") is False:
        del case.mine["stream"]


def call_numbers(case: Case) -> None:
    """litellm numbers the calls of a message, as in a stream of its answer."""
    for message in case.theirs["messages"]:
        for call in message.get("tool_calls") or ():
            call.pop("index", None)


def strictness(case: Case) -> None:
    """What was not given is not given on; litellm says that it is not strict."""
    for mine, theirs in zip(case.mine.get("tools", ()), case.theirs.get("tools", ()), strict=True):
        if "strict" not in mine["function"]:
            assert theirs["function"].pop("strict") is False
    mine, theirs = (each.get("response_format", {}) for each in (case.mine, case.theirs))
    if "json_schema" in mine and "strict" not in mine["json_schema"]:
        assert theirs["json_schema"].pop("strict") is False


def details(case: Case) -> None:
    """What was not given is not given on; litellm gives images a detail."""
    for mine, theirs in _parts(case):
        if mine["type"] == "image_url" and "detail" not in mine["image_url"]:
            assert theirs["image_url"].pop("detail") == "auto"


def tools_filled(case: Case) -> None:
    """Likewise of tools: litellm fills in an empty description and parameters."""
    for mine, theirs in zip(case.mine.get("tools", ()), case.theirs.get("tools", ()), strict=True):
        for key, empty in (("description", ""), ("parameters", {"type": "object"})):
            if key not in mine["function"]:
                assert theirs["function"].pop(key) == empty


def outputs(case: Case) -> None:
    """The parts of an output stay parts; litellm makes one text a string, and sends the JSON of
    the parts where it is empty."""
    for mine, theirs in _messages(case):
        if mine["role"] == "tool" and isinstance(mine["content"], list):
            (part,) = mine["content"]
            given = [{"type": "input_text", "text": part["text"]}]
            assert theirs["content"] in (part["text"], json.dumps(given))
            theirs["content"] = mine["content"]


def refusals_said(case: Case) -> None:
    """A refusal is what the assistant said; litellm drops it, and sends an empty message."""
    for mine, theirs in _messages(case):
        if theirs["content"] == [] and [part["type"] for part in mine["content"]] == ["refusal"]:
            theirs["content"] = mine["content"]


def purpose(case: Case) -> None:
    """What the format is for is told to the model; litellm drops it."""
    mine, theirs = (each.get("response_format", {}) for each in (case.mine, case.theirs))
    if "description" in mine.get("json_schema", {}):
        theirs["json_schema"]["description"] = mine["json_schema"]["description"]


def verbosity(case: Case) -> None:
    """It goes on to the provider's translation, which refuses what it lacks; litellm drops it."""
    case.mine.pop("verbosity", None)


CHATS: tuple[Callable[[Case], None], ...] = (
    litellms_words,
    limit,
    harmless,
    no_stream,
    call_numbers,
    strictness,
    details,
    tools_filled,
    outputs,
    refusals_said,
    purpose,
    verbosity,
)


def _messages(case: Case) -> list[tuple[Body, Body]]:
    return list(zip(case.mine["messages"], case.theirs["messages"], strict=True))


def _parts(case: Case) -> list[tuple[Body, Body]]:
    return [
        both
        for mine, theirs in _messages(case)
        if mine["role"] == "user" and isinstance(mine["content"], list)
        for both in zip(mine["content"], theirs["content"], strict=True)
    ]


def ids(case: Case) -> None:
    """Ids follow from the answer's, the same however often it is read; litellm makes them up."""
    case.theirs["id"] = case.mine["id"]
    for mine, theirs in zip(case.mine["output"], case.theirs["output"], strict=False):
        if mine["type"] == theirs["type"]:
            theirs["id"] = mine["id"]


def native(case: Case) -> None:
    """What the provider said beside is kept; litellm drops it."""
    del case.mine["native"]


def repeated(case: Case) -> None:
    """What an answer repeats of its request is not known here: null, or OpenAI's default where
    it has to be there. litellm repeats the request, which here is empty."""
    assert case.mine.pop("background") is None
    for key in ("metadata", "text", "parallel_tool_calls"):
        case.theirs[key] = case.mine[key]
    for key in case.theirs.keys() - case.mine.keys():
        assert case.theirs.pop(key) is None


def summaries(case: Case) -> None:
    """Thoughts are a summary, as the SDK's type has them; litellm gives them as what was said."""
    for item in case.theirs["output"]:
        if item["type"] == "reasoning":
            (part,) = item.pop("content")
            item["summary"] = [{"type": "summary_text", "text": part["text"]}]
            del item["role"], item["status"]


def parts(case: Case) -> None:
    """An answer's members, no more; litellm names all of the SDK's types, and no logprobs."""
    for item in case.theirs["output"]:
        for key in ("phase", "namespace", "async_", "caller"):
            assert item.pop(key, None) is None
        for part in item.get("content", ()):
            part.setdefault("logprobs", [])


def nothing_said(case: Case) -> None:
    """Beside calls an empty text says nothing, and an answer that broke off may have said
    nothing; litellm gives an item of no text."""
    calls = [item for item in case.theirs["output"] if item["type"] == "function_call"]
    content = case.sent["choices"][0]["message"]["content"]
    if (content == "" and calls) or (content is None and case.mine["status"] == "incomplete"):
        case.theirs["output"] = [
            item for item in case.theirs["output"] if item["type"] != "message"
        ]


def calls_cut(case: Case) -> None:
    """A call of an answer that broke off may be cut; litellm calls it complete."""
    if case.mine["status"] == "incomplete":
        for item in case.theirs["output"]:
            if item["type"] == "function_call":
                item["status"] = "incomplete"


def refusals(case: Case) -> None:
    """A refusal is said in a part of its own; litellm drops it."""
    message = case.sent["choices"][0]["message"]
    if message["refusal"] is None:
        return
    called = message.get("tool_calls")
    for index, item in enumerate(case.mine["output"]):
        if item["type"] != "message":
            continue
        said = [part for part in item["content"] if part["type"] != "refusal"]
        if said or message["content"] or (message["content"] == "" and not called):
            # Of a refusal that repeats what was said, the text goes.
            text = {"type": "output_text", "text": message["content"]}
            item["content"] = said or [text | {"annotations": [], "logprobs": []}]
        else:
            del case.mine["output"][index]
        return


def usage(case: Case) -> None:
    """OpenAI's members only; litellm adds its own."""
    mine, theirs = case.mine["usage"], case.theirs["usage"]
    for part in ("input_tokens_details", "output_tokens_details"):
        theirs[part] = {key: theirs[part][key] for key in mine[part]}
    case.theirs["usage"] = {key: theirs[key] for key in mine}


RESPONSES: tuple[Callable[[Case], None], ...] = (
    native,
    repeated,
    summaries,
    parts,
    nothing_said,
    calls_cut,
    refusals,
    ids,
    usage,
)
