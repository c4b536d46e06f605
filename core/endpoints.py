"""The endpoints of a batch, as the urls of its lines name them."""

from __future__ import annotations

CHAT_COMPLETIONS = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
RESPONSES = "/v1/responses"
COMPLETIONS = "/v1/completions"
MODERATIONS = "/v1/moderations"
IMAGE_GENERATIONS = "/v1/images/generations"
IMAGE_EDITS = "/v1/images/edits"
MESSAGES = "/v1/messages"
"""Anthropic's own: its requests are sent as they are."""
GENERATE_CONTENT = "/v1beta/models/*:generateContent"
"""Gemini's own, likewise. The `*` stands for the model, which its lines need not name."""

OPENAI = frozenset(
    {
        CHAT_COMPLETIONS,
        EMBEDDINGS,
        RESPONSES,
        COMPLETIONS,
        MODERATIONS,
        IMAGE_GENERATIONS,
        IMAGE_EDITS,
    }
)
"""OpenAI's own, of those that its batches take (openai 3.54 types/batch_create_params.py; not
/v1/videos, whose results are no JSON)."""

AS_CHAT = frozenset({CHAT_COMPLETIONS, RESPONSES, MESSAGES, GENERATE_CONTENT})
"""What a model that chats can be asked by."""
