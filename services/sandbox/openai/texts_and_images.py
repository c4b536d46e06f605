"""OpenAI's smaller endpoints: completions, moderations, images; requests and answers.

Members and answers as the openai package 3.54 types them (types/completion_create_params.py,
moderation_create_params.py, image_generate_params.py, image_edit_params.py and their responses).
A moderation and an image are never cut short and cost no text.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct

from services.sandbox import answers

NOTHING = Raw(b"")
IMAGE_TOKENS = 1056
"""Output tokens of one picture of 1024 x 1024 in medium quality."""
_FLAGS = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
# The smallest PNG there is: one transparent pixel.
_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Completions(Struct, gc=False, forbid_unknown_fields=True):
    """The body of a completion."""

    model: str
    prompt: str | list[str | int | list[int]]
    best_of: int | None = None
    echo: bool | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    logit_bias: Raw = NOTHING
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    seed: int | None = None
    stop: Raw = NOTHING
    stream: Literal[False] | None = None
    stream_options: Raw = NOTHING
    suffix: str | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    user: str | None = None

    @property
    def prompts(self) -> list[str]:
        """Each prompt as a text; tokens are written as numbers."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if all(isinstance(each, int) for each in self.prompt):
            return [repr(self.prompt)]
        return [each if isinstance(each, str) else repr(each) for each in self.prompt]

    @property
    def question(self) -> str:
        return self.prompts[0]

    def measure(self, question: str) -> tuple[int, int]:
        """(prompt tokens, completion tokens)."""
        prompt = sum(answers.text_tokens(each) for each in self.prompts)
        output = sum(answers.output_tokens(each, self.max_tokens) for each in self.prompts)
        return prompt, output * (self.n or 1)

    def answer(self, name: str, created: int) -> dict[str, Any]:
        """The body of the answer."""
        choices: list[dict[str, Any]] = []
        for text in self.prompts:
            print_ = answers.fingerprint(self.model, text)
            composed, cut = answers.compose(print_, text, self.max_tokens)
            for _ in range(self.n or 1):
                choices.append(
                    {
                        "text": composed,
                        "index": len(choices),
                        "logprobs": None,
                        "finish_reason": "length" if cut else "stop",
                    }
                )
        prompt, output = self.measure(self.question)
        return {
            "id": f"cmpl-{name}",
            "object": "text_completion",
            "created": created,
            "model": self.model,
            "choices": choices,
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": output,
                "total_tokens": prompt + output,
            },
        }


class Moderations(Struct, gc=False, forbid_unknown_fields=True):
    """The body of a moderation."""

    input: str | Annotated[list[str | answers.Part], Meta(min_length=1)]
    model: str = "omni-moderation-latest"

    @property
    def items(self) -> list[str]:
        """What is to be judged, one text an input; parts of a message are one."""
        if isinstance(self.input, str):
            return [self.input]
        if any(not isinstance(each, str) for each in self.input):
            parts = [each for each in self.input if not isinstance(each, str)]
            return [answers.text_of(parts)]
        return [each for each in self.input if isinstance(each, str)]

    @property
    def question(self) -> str:
        return self.items[0]

    def measure(self, question: str) -> tuple[int, int]:
        """(prompt tokens, output tokens): moderations are free."""
        return 0, 0

    def answer(self, name: str, created: int) -> dict[str, Any]:
        """The body of the answer: texts that hold the word "kill" are violent."""
        results = []
        for text in self.items:
            flagged = {flag: flag == "violence" and "kill" in text.lower() for flag in _FLAGS}
            results.append(
                {
                    "flagged": any(flagged.values()),
                    "categories": flagged,
                    "category_scores": {flag: 0.9 if on else 0.01 for flag, on in flagged.items()},
                    "category_applied_input_types": {flag: ["text"] for flag in _FLAGS},
                }
            )
        return {"id": f"modr-{name}", "model": self.model, "results": results}


class _Images(Struct, gc=False, forbid_unknown_fields=True):
    model: str
    prompt: Annotated[str, Meta(min_length=1, max_length=32_000)]
    background: Literal["transparent", "opaque", "auto"] | None = None
    complexity: Literal["low", "medium", "high"] | None = None
    frame_count: Annotated[int, Meta(ge=2, le=16)] | None = None
    frame_duration_ms: int | None = None
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    output_compression: Annotated[int, Meta(ge=0, le=100)] | None = None
    output_format: Literal["png", "webp", "jpeg", "gif", "svg"] | None = None
    partial_images: Literal[0] | None = None
    quality: Literal["low", "medium", "high", "xhigh", "max", "auto", "standard", "hd"] | None = (
        None
    )
    response_format: Literal["url", "b64_json"] | None = None
    size: str | None = None
    stream: Literal[False] | None = None
    svg: Raw = NOTHING
    user: str | None = None

    @property
    def question(self) -> str:
        return self.prompt

    def measure(self, question: str) -> tuple[int, int]:
        """(prompt tokens, output tokens)."""
        return answers.text_tokens(self.prompt), IMAGE_TOKENS * (self.n or 1)

    def answer(self, name: str, created: int) -> dict[str, Any]:
        """The body of the answer."""
        prompt, output = self.measure(self.prompt)
        return {
            "created": created,
            "background": "opaque",
            "data": [{"b64_json": _PIXEL} for _ in range(self.n or 1)],
            "output_format": self.output_format or "png",
            "quality": self.quality or "medium",
            "size": self.size or "1024x1024",
            "usage": {
                "input_tokens": prompt,
                "input_tokens_details": {"image_tokens": 0, "text_tokens": prompt},
                "output_tokens": output,
                "total_tokens": prompt + output,
            },
        }


class ImageGenerations(_Images, gc=False, forbid_unknown_fields=True):
    """The body of a generation of images."""

    moderation: Literal["low", "auto"] | None = None
    safety_identifier: str | None = None
    style: Literal["vivid", "natural"] | None = None


class ImageReference(Struct, gc=False, forbid_unknown_fields=True):
    """A picture by the id of a file, or by its address."""

    file_id: str | None = None
    image_url: str | None = None

    def __post_init__(self) -> None:
        if (self.file_id is None) == (self.image_url is None):
            raise ValueError("expected one of file_id and image_url")


class ImageEdits(_Images, gc=False, forbid_unknown_fields=True, kw_only=True):
    """The body of an edit of images, which a batch takes as JSON."""

    images: Annotated[list[ImageReference], Meta(min_length=1, max_length=16)]
    input_fidelity: Literal["high", "low"] | None = None
    markup: Raw = NOTHING
    mask: ImageReference | None = None


TextsAndImages = Completions | Moderations | ImageGenerations | ImageEdits
