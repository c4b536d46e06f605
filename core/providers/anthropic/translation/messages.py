"""The conversation: chat completion messages to a system prompt and alternating turns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from core.providers.anthropic.translation.content import (
    Block,
    blank,
    filled,
    user_block,
)
from core.providers.catalogue import Model
from core.providers.contract import LineRejected
from core.providers.translation.chat_fields import call_arguments
from core.providers.translation.chat_messages import (
    Call,
    OpenCalls,
    answer_texts,
    called_function,
    calls_of,
    no_user_message,
    not_from_user,
    role_of,
    texts_of,
)
from core.providers.translation.fields import string
from core.providers.translation.report import CHANGED, IGNORED, Report, decode, wrong_type

_messages = msgspec.json.Decoder(list[dict[str, Any]])

_ECHOES = ("annotations", "reasoning_content")
"""What answers hold, and nobody can send back."""

_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(slots=True)
class Conversation:
    """The messages of a request in Anthropic's form."""

    system: str | list[Block]
    """Empty if there is none."""
    turns: list[Block]
    functions: dict[str, str]
    """Names of the functions that were called, with the path of their first call."""

    @property
    def prefilled(self) -> bool:
        """Whether the model is to continue a message of the assistant."""
        return bool(self.turns[-1]["role"] == "assistant")

    @property
    def answers_tools(self) -> bool:
        """Whether the last turn brings the results of tools."""
        content = self.turns[-1]["content"]
        return isinstance(content, list) and content[0]["type"] == "tool_result"


def translate_messages(raw: msgspec.Raw, model: Model, report: Report) -> Conversation:
    """Put the messages into Anthropic's form. Raises LineRejected."""
    messages = decode(_messages, raw, "body.messages", "a list of message objects")
    translator = _Translator(report)
    for index, message in enumerate(messages):
        translator.add(f"body.messages[{index}]", message)
    return translator.end(model, f"body.messages[{len(messages) - 1}]")


class _Translator:
    def __init__(self, report: Report) -> None:
        self._report = report
        self._system: list[str] = []
        self._system_parts = False
        self._turns: list[Block] = []
        self._functions: dict[str, str] = {}
        self._calls = OpenCalls()
        self._sent_ids: set[str] = set()

    def add(self, path: str, message: Block) -> None:
        role = role_of(path, message, self._report)
        if role == "user":
            self._calls.check_none(path)
            self._extend("user", self._user_content(f"{path}.content", message.get("content")))
        elif role == "assistant":
            self._calls.check_none(path)
            self._extend("assistant", self._assistant_content(path, message))
        elif role == "tool":
            self._extend("user", [self._tool_result(path, message)])
        else:
            self._add_system(path, message.get("content"))

    def end(self, model: Model, path: str) -> Conversation:
        turns = self._turns
        if not turns:
            raise no_user_message()
        self._calls.check_none(path)
        system: str | list[Block] = "\n\n".join(self._system)
        if self._system_parts:
            system = [{"type": "text", "text": text} for text in self._system]
        conversation = Conversation(system, turns, self._functions)
        if conversation.prefilled:
            self._finish_prefill(model, path)
        return conversation

    def _finish_prefill(self, model: Model, path: str) -> None:
        if not model.prefill:
            # Nothing to leave out: the model refuses any request that ends so.
            raise LineRejected(
                f"{path}.role",
                "unsupported_prefill",
                f"{model.id} does not continue a message of the assistant: "
                "the last message has to be from the user.",
            )
        turn = self._turns[-1]
        if isinstance(turn["content"], str):
            turn["content"], before = turn["content"].rstrip(), turn["content"]
            after = turn["content"]
        else:
            block = turn["content"][-1]
            block["text"], before = block["text"].rstrip(), block["text"]
            after = block["text"]
        if after != before:
            self._report.note(
                f"{path}.content", CHANGED, "White space at the end of a prefill is refused."
            )

    def _extend(self, role: str, content: str | list[Block]) -> None:
        turns = self._turns
        if not turns and role == "assistant":
            raise not_from_user()
        if not turns or turns[-1]["role"] != role:
            turns.append({"role": role, "content": content})
            return
        turn = turns[-1]
        turn["content"] = _as_blocks(turn["content"])
        turn["content"] += _as_blocks(content)

    def _add_system(self, path: str, content: Any) -> None:
        self._system_parts |= isinstance(content, list)
        texts = texts_of(f"{path}.content", content, self._report)
        # An empty instruction says nothing.
        self._system += [text for text in texts if not blank(text)]
        if self._turns:
            self._report.note(
                path, CHANGED, "A later system message is joined to the system prompt."
            )

    def _user_content(self, path: str, content: Any) -> str | list[Block]:
        if isinstance(content, str):
            return filled(path, content)
        if not isinstance(content, list) or not content:
            raise wrong_type(path, "a string or a list of content parts")
        return [user_block(f"{path}[{i}]", part, self._report) for i, part in enumerate(content)]

    def _assistant_content(self, path: str, message: Block) -> str | list[Block]:
        for key in _ECHOES:
            if message.get(key):
                self._report.note(f"{path}.{key}", IGNORED, f"{key} cannot be sent back.")
        content, calls = message.get("content"), message.get("tool_calls")
        refusal = message.get("refusal")
        if isinstance(content, str) and not calls and not refusal:
            return filled(f"{path}.content", content)
        blocks = self._assistant_parts(f"{path}.content", content)
        if isinstance(refusal, str) and not blank(refusal):
            blocks.append({"type": "text", "text": refusal})
        blocks += [self._tool_use(where, call) for where, call in calls_of(path, message)]
        if not blocks:
            raise wrong_type(f"{path}.content", "a text that is not empty")
        return blocks

    def _assistant_parts(self, path: str, content: Any) -> list[Block]:
        texts = [text for _, text in answer_texts(path, content, self._report)]
        # Beside tool calls an empty text is common, and says nothing.
        return [{"type": "text", "text": text} for text in texts if not blank(text)]

    def _tool_use(self, path: str, call: Any) -> Block:
        function = called_function(path, call, self._report)
        name_path = f"{path}.function.name"
        name = string(name_path, function.get("name"))
        self._functions.setdefault(name, name_path)
        return {
            "type": "tool_use",
            "id": self._open_call(path, call.get("id"), name),
            "name": name,
            "input": call_arguments(f"{path}.function.arguments", function.get("arguments")),
        }

    def _open_call(self, path: str, given: Any, name: str) -> str:
        """The id that is sent for a call.

        Anthropic wants ids of few symbols, unique in the request; OpenAI neither. They
        bind a result to its call and are seen by nobody, so others do as well.
        """
        call_id = filled(f"{path}.id", string(f"{path}.id", given))
        sent = _NOT_IN_IDS.sub("_", call_id)
        if sent in self._sent_ids:
            sent = f"{sent}_{len(self._sent_ids)}"
            while sent in self._sent_ids:
                sent += "_"
        self._sent_ids.add(sent)
        self._calls.add(call_id, Call(path, name, sent))
        return sent

    def _tool_result(self, path: str, message: Block) -> Block:
        call = self._calls.answered(path, message)
        block: Block = {"type": "tool_result", "tool_use_id": call.sent_id}
        content = message.get("content")
        if isinstance(content, list):
            texts = texts_of(f"{path}.content", content, self._report)
            parts = [{"type": "text", "text": text} for text in texts if not blank(text)]
            if parts:
                block["content"] = parts
        elif text := string(f"{path}.content", content):
            block["content"] = text
        return block


def _as_blocks(content: str | list[Block]) -> list[Block]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
