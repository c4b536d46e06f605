"""The input of a Responses request: its items to the messages of a chat completion.

Source: openai 3.54 types/responses/response_input_item_param.py and what it refers to.
"""

from __future__ import annotations

from typing import Any

from core.providers.contract import LineRejected
from core.providers.translation.fields import known_only, string
from core.providers.translation.report import IGNORED, Report, wrong_type
from core.providers.translation.responses.origins import MessageOrigin, Origins

Item = dict[str, Any]

TRANSLATED_ITEMS = frozenset({"message", "function_call", "function_call_output"})
IGNORED_ITEMS = frozenset({"reasoning"})
"""OpenAI itself takes out what another model thought (Response.input_transformations)."""
REFUSED_ITEMS = frozenset(
    {
        "additional_tools",
        "apply_patch_call",
        "apply_patch_call_output",
        "code_interpreter_call",
        "compaction",
        "compaction_trigger",
        "computer_call",
        "computer_call_output",
        "configuration_update",
        "custom_tool_call",
        "custom_tool_call_output",
        "file_search_call",
        "image_generation_call",
        "item_reference",
        "local_shell_call",
        "local_shell_call_output",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "program",
        "program_output",
        "shell_call",
        "shell_call_output",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)
"""Of built-in tools, or kept at OpenAI: without them the conversation is another."""

CONTENT = {
    "user": frozenset({"input_text", "input_image", "input_file"}),
    "system": frozenset({"input_text"}),
    "developer": frozenset({"input_text"}),
    "assistant": frozenset({"output_text", "refusal"}),
}
"""What the content of a message may hold, by its role."""

_HOUSEKEEPING = frozenset({"id", "status"})
"""What OpenAI gives its items, and nobody else can use."""
_MESSAGE = frozenset({"type", "role", "content", "phase"}) | _HOUSEKEEPING
_CALL = frozenset({"type", "call_id", "name", "arguments", "extra_content"}) | _HOUSEKEEPING
_OUTPUT = frozenset({"type", "call_id", "output"}) | _HOUSEKEEPING
_DIRECT = {"type": "direct"}


class Messages:
    """Collects the messages of a chat completion, and where each comes from."""

    def __init__(self, origins: Origins, report: Report) -> None:
        self.made: list[Item] = []
        self._origins = origins.messages
        self._report = report

    def say(self, role: str, text: str, path: str) -> None:
        """Add a message of one text, such as the instructions."""
        self._append({"role": role, "content": text}, MessageOrigin(path, path))

    def add(self, path: str, item: Item) -> None:
        """Add an item of the input. Raises LineRejected."""
        kind = item.get("type")
        if kind is None and "role" in item:
            kind = "message"
        if kind == "message":
            self._message(path, item)
        elif kind == "function_call":
            self._call(path, item)
        elif kind == "function_call_output":
            self._output(path, item)
        elif kind == "reasoning":
            text = "What was thought before cannot be given to another model."
            self._report.note(path, IGNORED, text)
        elif isinstance(kind, str) and kind in REFUSED_ITEMS:
            raise LineRejected(
                f"{path}.type",
                "unsupported_content",
                f"{kind} has no equivalent at this provider: "
                "an item has to be a message, a function_call or a function_call_output.",
            )
        else:
            raise LineRejected(
                f"{path}.type",
                "unsupported_content",
                f"{path}.type has to be message, function_call or function_call_output.",
            )

    def _append(self, message: Item, origin: MessageOrigin) -> None:
        self.made.append(message)
        self._origins.append(origin)

    def _message(self, path: str, item: Item) -> None:
        role = item.get("role")
        if not isinstance(role, str) or role not in CONTENT:
            raise LineRejected(
                f"{path}.role",
                "unsupported_role",
                f"{path}.role has to be user, assistant, system or developer.",
            )
        known_only(path, item, _MESSAGE, self._report)
        if item.get("phase") is not None:
            self._report.note(f"{path}.phase", IGNORED, "phase is a hint for OpenAI's models.")
        where = f"{path}.content"
        content = item.get("content")
        if isinstance(content, list):
            content = [self._part(f"{where}[{i}]", part, role) for i, part in enumerate(content)]
        elif not isinstance(content, str):
            raise wrong_type(where, "a string or a list of content parts")
        last = self.made[-1] if self.made else {}
        if role == "assistant" and last.get("tool_calls"):
            # Said beside calls that are not answered yet: it is one turn of the model.
            self._join(last, content, where)
        else:
            self._append({"role": role, "content": content}, MessageOrigin(path, where))

    def _join(self, message: Item, content: str | list[Item], where: str) -> None:
        origin = self._origins[-1]
        before = message["content"]
        if before is None:
            message["content"], origin.content = content, where
            return
        parts = before if isinstance(before, list) else [_text(before)]
        if not origin.parts:
            origin.parts = (
                [f"{origin.content}[{i}]" for i in range(len(before))]
                if isinstance(before, list)
                else [origin.content]
            )
        added = content if isinstance(content, list) else [_text(content)]
        origin.parts += (
            [f"{where}[{i}]" for i in range(len(content))] if isinstance(content, list) else [where]
        )
        message["content"] = parts + added

    def _call(self, path: str, item: Item) -> None:
        self._direct(path, item)
        known_only(path, item, _CALL | {"caller", "async"}, self._report)
        if item.get("async"):
            self._report.lose(f"{path}.async")
        call: Item = {
            "id": string(f"{path}.call_id", item.get("call_id")),
            "type": "function",
            "function": {
                "name": string(f"{path}.name", item.get("name")),
                "arguments": string(f"{path}.arguments", item.get("arguments")),
            },
        }
        if item.get("extra_content") is not None:
            # Gemini's thought signatures, as its answers have them here.
            call["extra_content"] = item["extra_content"]
        if self.made and self.made[-1]["role"] == "assistant":
            self.made[-1].setdefault("tool_calls", []).append(call)
            self._origins[-1].calls.append(path)
            return
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        self._append(message, MessageOrigin(path, path, calls=[path]))

    def _output(self, path: str, item: Item) -> None:
        self._direct(path, item)
        # Beside the call that it answers, its name says nothing new.
        known_only(path, item, _OUTPUT | {"caller", "name"}, self._report)
        output, where = item.get("output"), f"{path}.output"
        if isinstance(output, list):
            output = [self._part(f"{where}[{i}]", part, "system") for i, part in enumerate(output)]
        elif not isinstance(output, str):
            raise wrong_type(where, "a string or a list of input_text parts")
        call_id = string(f"{path}.call_id", item.get("call_id"))
        message = {"role": "tool", "tool_call_id": call_id, "content": output}
        self._append(message, MessageOrigin(path, where))

    def _direct(self, path: str, item: Item) -> None:
        if item.get("caller") not in (None, _DIRECT):
            raise LineRejected(
                f"{path}.caller", "unsupported_content", "Only the model itself calls functions."
            )

    def _part(self, path: str, part: Any, role: str) -> Item:
        kind = part.get("type") if isinstance(part, dict) else None
        allowed = CONTENT[role]
        if not isinstance(kind, str) or kind not in allowed:
            raise LineRejected(
                f"{path}.type",
                "unsupported_content",
                f"{path}.type has to be {' or '.join(sorted(allowed))}.",
            )
        if part.get("prompt_cache_breakpoint") is not None:
            self._report.note(
                f"{path}.prompt_cache_breakpoint", IGNORED, "It has no effect on the answer."
            )
        if kind == "input_text" or kind == "output_text":
            return self._text_part(path, part, kind)
        if kind == "refusal":
            known_only(path, part, {"type", "refusal"}, self._report)
            return {"type": "refusal", "refusal": string(f"{path}.refusal", part.get("refusal"))}
        return self._image(path, part) if kind == "input_image" else self._file(path, part)

    def _text_part(self, path: str, part: Item, kind: str) -> Item:
        known = {"type", "text", "prompt_cache_breakpoint"}
        if kind == "output_text":
            known |= {"annotations", "logprobs"}
            for key in ("annotations", "logprobs"):
                if part.get(key):
                    self._report.note(f"{path}.{key}", IGNORED, f"{key} cannot be sent back.")
        known_only(path, part, known, self._report)
        return _text(string(f"{path}.text", part.get("text")))

    def _image(self, path: str, part: Item) -> Item:
        _no_file_id(path, part)
        known = {"type", "detail", "image_url", "file_id", "prompt_cache_breakpoint"}
        known_only(path, part, known, self._report)
        image: Item = {"url": string(f"{path}.image_url", part.get("image_url"))}
        if part.get("detail") is not None:
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}

    def _file(self, path: str, part: Item) -> Item:
        _no_file_id(path, part)
        if part.get("file_url") is not None:
            raise LineRejected(
                f"{path}.file_url",
                "unsupported_url",
                "Files cannot be given by their address here: send file_data.",
            )
        known = {"type", "file_data", "filename", "detail", "file_id", "file_url"}
        known_only(path, part, known | {"prompt_cache_breakpoint"}, self._report)
        if part.get("detail") not in (None, "auto"):
            self._report.note(f"{path}.detail", IGNORED, "There is no level of detail for files.")
        file: Item = {"file_data": string(f"{path}.file_data", part.get("file_data"))}
        if part.get("filename") is not None:
            file["filename"] = string(f"{path}.filename", part["filename"])
        return {"type": "file", "file": file}


def _no_file_id(path: str, part: Item) -> None:
    if part.get("file_id") is not None:
        raise LineRejected(
            f"{path}.file_id",
            "unsupported_file_id",
            "A file id of one provider means nothing to another: send the content itself.",
        )


def _text(text: str) -> Item:
    return {"type": "text", "text": text}
