"""OpenAI's /v1/responses for providers that have chat completions, or are translated from them.

In: a Responses request. Out: the chat completion request that means the same, which goes on as
any other; and of its answer the Response. What can go wrong: a part has no equivalent in chat
completions (LineRejected, or left out and told when lenient).
"""

from core.endpoints import CHAT_COMPLETIONS, RESPONSES
from core.providers.translation.responses.answer import from_chat
from core.providers.translation.responses.request import ChatRequest, LimitField, to_chat
from core.providers.translation.responses.results import as_response, marked, restored
from core.providers.translation.responses.through_chat import (
    ANY_MODEL,
    check_through_chat,
    through_chat,
)


def with_responses(endpoints: frozenset[str]) -> frozenset[str]:
    """The endpoints that lines may name where a provider has these."""
    return endpoints | {RESPONSES} if CHAT_COMPLETIONS in endpoints else endpoints
