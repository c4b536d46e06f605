"""Requests in Anthropic's own form: sent as they are, and their answers kept as they came.

The features of beta versions are asked for by a header of the whole create
(anthropic 2.12 resources/beta/messages/batches.py), not by a member of a request: the setting
ANTHROPIC_BETAS names them for all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Raw

from core.providers.catalogue import Model
from core.providers.contract import LineRejected, Outcome, ResultLine
from core.providers.result_lines import encoded_response
from core.providers.translation.chat_messages import not_from_user

SUFFIX = "-m"
"""Behind the custom id of a request whose answer is wanted as it is: nothing else of a request
comes back with its answer."""

BETAS = "betas"

_SAMPLING = {"temperature": 1, "top_p": 1, "top_k": 0}
"""With the default of each: what models that take none of them leave a request."""

Option = Raw | msgspec.UnsetType

# An exponent of three digits, or a very long number.
_MAY_BE_OUT_OF_RANGE = re.compile(rb"\d[eE]\+?\d{3}|\d{300}")


class PlainMessage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message that is one text."""

    role: Literal["user", "assistant"]
    content: Annotated[str, msgspec.Meta(min_length=1)]


class PlainParams(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """Parameters whose messages are texts. The lines of a file mostly share all others."""

    max_completion_tokens: ClassVar[None] = None

    model: str
    messages: Annotated[list[PlainMessage], msgspec.Meta(min_length=1)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1)]
    stream: None = None
    system: Option = msgspec.UNSET
    temperature: Option = msgspec.UNSET
    tools: Option = msgspec.UNSET
    tool_choice: Option = msgspec.UNSET
    thinking: Option = msgspec.UNSET
    output_config: Option = msgspec.UNSET
    output_format: Option = msgspec.UNSET
    stop_sequences: Option = msgspec.UNSET
    top_k: Option = msgspec.UNSET
    top_p: Option = msgspec.UNSET

    @property
    def has_options(self) -> bool:
        """Whether any is given."""
        return not (
            self.system
            is self.temperature
            is self.tools
            is self.tool_choice
            is self.thinking
            is self.output_config
            is self.output_format
            is self.stop_sequences
            is self.top_k
            is self.top_p
            is msgspec.UNSET
        )


_params = msgspec.json.Decoder(dict[str, Raw])
_names = msgspec.json.Decoder(list[str])
_encoder = msgspec.json.Encoder()


class _Checked(msgspec.Struct):
    max_tokens: float = 0
    betas: Raw | msgspec.UnsetType = msgspec.UNSET


class _Result(msgspec.Struct):
    message: Raw = Raw(b"null")


class _Line(msgspec.Struct):
    result: _Result


_checked = msgspec.json.Decoder(_Checked)
_line = msgspec.json.Decoder(_Line)


def native_params(body: bytes | Raw, model: str, betas: Collection[str]) -> bytes:
    """The parameters of a request as they came, with the provider's own name of the model.

    `betas`: those that the installation asks for. Raises LineRejected.
    """
    try:
        params = _params.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LineRejected("body", "invalid_json", f"The body is unreadable: {error}") from None
    check_betas(params.pop(BETAS, None), betas)
    params["model"] = Raw(_encoder.encode(model))
    return _encoder.encode(params)


def check_params(body: bytes | Raw, model: Model, betas: Collection[str]) -> None:
    """Refuse what no batch of Anthropic's can have, by the paths of a body. Raises LineRejected.

    The rest is the provider's to judge: it knows its own form best.
    """
    raw = bytes(body)
    try:
        given = _checked.decode(raw)
        decoded = _decoded(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = f"The body is unreadable: {error}; expected numbers that a 64-bit float can hold."
        raise LineRejected("body", "number_out_of_range", text) from None
    if given.betas is not msgspec.UNSET:
        check_betas(given.betas, betas)
    # Betas of this name raise the limit.
    raised = any(beta.startswith("output-") for beta in betas)
    if model.max_output is not None and given.max_tokens > model.max_output and not raised:
        raise LineRejected(
            "body.max_tokens",
            "unsupported_value",
            f"{model.id} gives at most {model.max_output} tokens.",
        )
    if isinstance(decoded, dict):
        _check_first(decoded.get("messages"))
        _check_sampling(decoded, model)


def begins_with_user(messages: Sequence[PlainMessage]) -> bool:
    """Whether it is the user who speaks first."""
    return messages[0].role == "user"


def _check_first(messages: Any) -> None:
    # What is not of this form is told elsewhere.
    match messages:
        case [{"role": "assistant"}, *_]:
            raise not_from_user()


def _check_sampling(given: dict[str, Any], model: Model) -> None:
    """What is refused of a request by its model, whatever the API's version."""
    for name, default in _SAMPLING.items():
        value = given.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if name != "top_k" and not 0 <= value <= 1:
            raise LineRejected(
                f"body.{name}", "unsupported_value", f"{name} has to be a number from 0 to 1."
            )
        if value != default and not model.sampling:
            raise LineRejected(
                f"body.{name}",
                "unsupported_parameter",
                f"{model.id} takes no {name}: leave it out.",
            )


def _decoded(raw: bytes) -> Any:
    """The body; raises what keeps one with a number out of range from being decoded."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Asked second: looking for such a number takes longer than decoding everything.
        if _MAY_BE_OUT_OF_RANGE.search(raw):
            raise
        return None


def check_betas(raw: Raw | None, betas: Collection[str]) -> None:
    """Refuse a request for betas that the installation does not ask for. Raises LineRejected."""
    if raw is None:
        return
    try:
        missing = sorted(set(_names.decode(raw)).difference(betas))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = "betas is no list of strings; expected one, or no such field"
        raise LineRejected("body.betas", "wrong_type", text) from None
    if missing:
        raise LineRejected(
            "body.betas",
            "beta_not_enabled",
            f"betas names {', '.join(missing)}, which a batch asks for as a whole; expected it "
            f"among those of the setting ANTHROPIC_BETAS: ANTHROPIC_BETAS={','.join(missing)}",
        )


def native_answer(read: ResultLine, line: bytes) -> ResultLine:
    """What read_line made of a line, with Anthropic's message as it came where it succeeded."""
    read.custom_id = read.custom_id.removesuffix(SUFFIX)
    if read.outcome is Outcome.SUCCEEDED:
        message = _line.decode(line).result.message
        read.response = encoded_response(message)
    return read
