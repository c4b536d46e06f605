"""How long the answer to a request may be, and whether its prompt is all there is.

Fields of all forms: OpenAI's (openai 3.54 types/chat/completion_create_params.py,
types/responses/response_create_params.py, types/completion_create_params.py), Anthropic's
(anthropic 2.12 types/message_create_params.py) and Gemini's (google-genai 3.4 types.py
GenerateContentConfig).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from core.endpoints import CHAT_COMPLETIONS, COMPLETIONS, EMBEDDINGS, MODERATIONS, RESPONSES

OPEN = 1
"""The provider adds to the prompt what nobody knows before: a stored prompt, conversation or
recording, or what tools find that it runs itself."""
TOOLS = 2
"""With tools: some providers put a prompt of their own before them."""
CACHES = 4
"""It asks for a cache of its own, which may cost more than reading the prompt."""
US = 8
"""Its inference is to run in the US, which some models charge for."""
TIER = 16
"""It asks for a tier of the service that may cost more than the standard one."""

# Far beyond what any model gives for one request: who asks for more has set no limit. Millions of
# lines of it come to a sum of money that has no place in a database, nor in a Money.
_MOST_TOKENS = 100_000_000
_MOST_ANSWERS = 100_000

_NO_ANSWER = frozenset({EMBEDDINGS, MODERATIONS})
# types/completion_create_params.py: "defaults to 16".
_COMPLETION_DEFAULT = 16
_CACHE_CONTROL, _PROMPT_CACHE = b'"cache_control"', b'"prompt_cache_'
# The lifetime of a cache stands in each of them (openai 3.54 types/responses/
# response_create_params.py: ttl "12h"), unlike in prompt_cache_key.
_LASTING = (b"retention", b"options", b"breakpoint")
_REFERENCE = b'"item_reference"'
_COMPACTS = b'"compact'
# types/chat/chat_completion_assistant_message_param.py: earlier audio of the model, by its id.
_EARLIER_AUDIO = re.compile(rb'"audio"\s*:\s*\{[^{}]*"id"\s*:')
# What the caller runs: functions, and the tools of Anthropic's own that it only describes.
_OWN_TOOLS = ("function", "custom", "bash_", "text_editor_", "computer_", "memory_")
_NOTHING = (b"[]", b"null")
_ANYWHERE = (b'"global"', b"null")
# "standard_only" is Anthropic's, "on_demand" Groq's; "flex" costs less.
_NO_DEARER = frozenset(
    {b"null", b'"auto"', b'"default"', b'"flex"', b'"on_demand"', b'"standard"', b'"standard_only"'}
)
_OWN_KEYS = frozenset({"functionDeclarations", "function_declarations"})


class Asked(NamedTuple):
    """What decides what an answer can cost."""

    limit: int | None
    """Most tokens of one answer, as the request says; None: it does not say."""
    answers: int = 1
    flags: int = 0
    """OPEN, TOOLS, CACHES, US, TIER."""


NO_ANSWER = Asked(0)
"""Of embeddings and moderations."""


class Asking(Struct, kw_only=True, gc=False):
    """The fields of a body that decide it, whatever they hold: who checks them is elsewhere."""

    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    n: Any = None
    best_of: Any = None
    generationConfig: Raw | UnsetType = UNSET
    generation_config: Raw | UnsetType = UNSET
    tools: Raw | UnsetType = UNSET
    mcp_servers: Raw | UnsetType = UNSET
    web_search_options: Raw | UnsetType = UNSET
    previous_response_id: Raw | UnsetType = UNSET
    conversation: Raw | UnsetType = UNSET
    cachedContent: Raw | UnsetType = UNSET
    cached_content: Raw | UnsetType = UNSET
    context_management: Raw | UnsetType = UNSET
    inference_geo: Raw | UnsetType = UNSET
    service_tier: Raw | UnsetType = UNSET
    prompt: Any = None


class _Config(Struct, gc=False):
    maxOutputTokens: Any = None
    max_output_tokens: Any = None
    candidateCount: Any = None
    candidate_count: Any = None


_body = msgspec.json.Decoder(Asking)
_config = msgspec.json.Decoder(_Config)
_list = msgspec.json.Decoder(list[dict[str, Any]])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def asked_plainly(
    max_tokens: int | None, max_completion_tokens: int | None, tools: Raw | UnsetType
) -> Asked:
    """The same of a body that has nothing else that decides it. `tools`: functions alone."""
    none = tools is UNSET or bytes(tools) in _NOTHING
    return _asked(_larger(max_completion_tokens, max_tokens), 1, 0 if none else TOOLS)


def asked_of(url: str, body: bytes | Raw) -> Asked:
    """What a body asks for. One that cannot be read asks for nothing."""
    try:
        found = _body.decode(body)
    except _UNREADABLE:
        return Asked(None)
    return asked_by(url, found, body)


def asked_by(url: str, found: Asking, body: bytes | Raw) -> Asked:
    """The same of a body that is decoded. `body`: it, or all of its line, as JSON."""
    if url in _NO_ANSWER:
        return NO_ANSWER
    limit, answers, flags = found.max_tokens, 1, 0
    if found.max_completion_tokens is not None:
        limit = _larger(found.max_completion_tokens, limit)
    if found.max_output_tokens is not None:
        limit = _larger(found.max_output_tokens, limit)
    if limit is not None and (type(limit) is not int or limit < 1):
        limit = None
    if found.n is not None:
        answers = _larger(found.n, None) or 1
    if found.generationConfig is not UNSET:
        limit, answers = _configured(found.generationConfig, limit, answers)
    elif found.generation_config is not UNSET:
        limit, answers = _configured(found.generation_config, limit, answers)
    if found.tools is not UNSET:
        flags = _flags_of_tools(bytes(found.tools))
    if found.prompt is not None:
        if url == COMPLETIONS:
            prompts = len(found.prompt) if _is_several(found.prompt) else 1
            answers = max(answers, _larger(found.best_of, None) or 1) * prompts
            limit = _COMPLETION_DEFAULT if limit is None else limit
        elif type(found.prompt) is not str:
            flags |= OPEN
    if not (
        found.web_search_options
        is found.previous_response_id
        is found.conversation
        is found.mcp_servers
        is found.cachedContent
        is found.cached_content
        is UNSET
    ) and _adds_to_the_prompt(found):
        flags |= OPEN
    view = bytes(body)
    # Each look goes through all of the line: one for what most lines have not.
    if _CACHE_CONTROL in view or (
        _PROMPT_CACHE in view and any(b'%b%b"' % (_PROMPT_CACHE, name) in view for name in _LASTING)
    ):
        flags |= CACHES
    if url == RESPONSES and _REFERENCE in view:
        flags |= OPEN
    if url == CHAT_COMPLETIONS and b'"audio"' in view and _EARLIER_AUDIO.search(view):
        flags |= OPEN
    # What a compaction reads and writes is billed beside the prompt and the answer.
    if found.context_management is not UNSET and _COMPACTS in bytes(found.context_management):
        flags |= OPEN
    if found.inference_geo is not UNSET and bytes(found.inference_geo) not in _ANYWHERE:
        flags |= US
    if found.service_tier is not UNSET and bytes(found.service_tier) not in _NO_DEARER:
        flags |= TIER
    return _asked(limit, answers, flags)


def _adds_to_the_prompt(found: Asking) -> bool:
    # SDKs write fields that nobody has set as null.
    return any(
        raw is not UNSET and bytes(raw) not in _NOTHING
        for raw in (
            found.web_search_options,
            found.previous_response_id,
            found.conversation,
            found.mcp_servers,
            found.cachedContent,
            found.cached_content,
        )
    )


# Most lines of a file ask alike.
@lru_cache(maxsize=4096)
def _asked(limit: int | None, answers: int, flags: int) -> Asked:
    answers = min(answers, _MOST_ANSWERS)
    if limit is not None and limit * answers > _MOST_TOKENS:
        limit = None
    return Asked(limit, answers, flags)


def _configured(raw: Raw, limit: int | None, answers: int) -> tuple[int | None, int]:
    try:
        config = _config.decode(raw)
    except _UNREADABLE:
        return limit, answers
    limit = _larger(config.maxOutputTokens, config.max_output_tokens) or limit
    return limit, _larger(config.candidateCount, config.candidate_count) or answers


# The lines of a file mostly have the same ones.
@lru_cache(maxsize=256)
def _flags_of_tools(raw: bytes) -> int:
    try:
        tools = _list.decode(raw)
    except _UNREADABLE:
        return 0 if raw == b"null" else TOOLS
    if not tools:
        return 0
    return TOOLS if all(map(_is_own, tools)) else TOOLS | OPEN


def _is_own(tool: dict[str, Any]) -> bool:
    """Whether the caller runs a tool: the provider that runs it bills what it finds as prompt."""
    kind = tool.get("type")
    if kind is None:
        return "input_schema" in tool or _OWN_KEYS.issuperset(tool)
    return isinstance(kind, str) and kind.startswith(_OWN_TOOLS)


def _is_several(prompt: object) -> bool:
    return isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], int)


def _larger(one: object, other: object) -> int | None:
    """The larger of two counts; what is none does not count."""
    found = one if type(one) is int and one > 0 else None
    if type(other) is int and other > 0 and (found is None or other > found):
        return other
    return found
