"""The sandbox's options: how fast it is, what it checks, how it misbehaves.

One declaration serves the command line, the environment and the control API: the
fields of `Options`. Times are in seconds, sizes in bytes.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from services.sandbox.kinds import CallKind, Provider

Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0)]

FaultKind = Literal[
    "status",
    "reset_before",
    "reset_after",
    "slow",
    "cut",
    "garbage",
    "not_found",
    "withdrawn",
    "fail_batch",
    "line",
]

LineOutcome = Literal[
    "lost",
    "duplicate",
    "garbage",
    "invalid",
    "rate_limit",
    "server",
    "overloaded",
    "timeout",
    "empty",
    "no_choices",
    "null",
    "no_content",
    "no_status",
    "refusal",
    "finish",
    "error_body",
    "rate_limit_body",
]


class Fault(Struct, forbid_unknown_fields=True, kw_only=True):
    """One way to misbehave, and when.

    Where it strikes: `provider`, `calls` (their kinds), `method`, `path` (a regular
    expression searched in the path) and `key` (the caller's). How often: on every `every`-th
    match, with `probability`, at most `count` times, for `seconds` from the moment it is set,
    or from the first call of the kind `since`, which it may strike already. Each left out
    means no such restriction.
    """

    kind: FaultKind
    """status: answer with `status` (and `retry_after`) without handling the request.
    reset_before: reset the connection without handling the request.
    reset_after: handle the request, then reset the connection: the answer is lost.
    slow: wait `delay` before each piece of the answer's body.
    cut: reset the connection after `after_bytes` of the answer's body.
    garbage: answer 200 with an HTML page without handling the request.
    not_found: answer a call about one batch as if there were none; it runs on all the same.
    withdrawn: answer a call that has a key as if it were nobody's.
    fail_batch: let the check of a new OpenAI or Gemini batch fail with `code`.
    line: give request lines the fate `outcome`."""
    provider: Provider | None = None
    calls: list[CallKind] = []
    method: str = ""
    path: str = ""
    key: str = ""
    every: Annotated[int, Meta(ge=1)] = 1
    probability: Annotated[float, Meta(ge=0, le=1)] = 1.0
    count: Annotated[int, Meta(ge=0)] | None = None
    seconds: Seconds | None = None
    since: CallKind | None = None
    status: Annotated[int, Meta(ge=400, le=599)] = 503
    retry_after: Seconds | None = None
    delay: Seconds = 0.0
    after_bytes: Count = 0
    code: str = "token_limit_exceeded"
    line: Annotated[int, Meta(ge=1)] | None = None
    """The line that the code is said to be about."""
    outcome: LineOutcome = "server"

    def __post_init__(self) -> None:
        try:
            re.compile(self.path)
        except re.error as error:
            raise ValueError(f"path is no regular expression: {error}") from error


class Options(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """All settings that may change while the sandbox runs."""

    validation_seconds: Annotated[
        Seconds, Meta(description="minimum time that a new OpenAI or Gemini batch is validating")
    ] = 0.0
    batch_seconds: Annotated[
        Seconds, Meta(description="time that a batch runs, whatever its size")
    ] = 0.0
    lines_per_second: Annotated[
        float,
        Meta(ge=0, description="rate at which a batch runs, on top of batch_seconds; 0: no limit"),
    ] = 0.0
    finalizing_seconds: Annotated[
        Seconds, Meta(description="time in 'finalizing'; 0: that state is skipped")
    ] = 0.0
    cancel_seconds: Annotated[
        Seconds, Meta(description="time from the request to cancel until the batch has ended")
    ] = 0.0
    window_seconds: Annotated[
        float, Meta(ge=0, le=86400, description="age at which an unfinished batch expires")
    ] = 86400.0
    list_lag_seconds: Annotated[
        Seconds, Meta(description="age below which a batch is in no list and not found")
    ] = 0.0
    enqueued_token_limit: Annotated[
        Count,
        Meta(
            description="OpenAI and Gemini: prompt tokens of unfinished batches per key and "
            "model; 0: off"
        ),
    ] = 0
    creates_per_hour: Annotated[
        Count,
        Meta(
            description="OpenAI: batches made with a key within an hour beyond which a create is "
            "refused with 429; 0: no limit"
        ),
    ] = 2000
    validation_errors: Annotated[
        Literal["first", "all"],
        Meta(description="OpenAI: a failed batch names its first bad line, or every one"),
    ] = "first"
    upload_checks: Annotated[
        bool,
        Meta(description="OpenAI: refuse an empty file or an unreadable first line at upload"),
    ] = False
    create_checks_file: Annotated[
        bool,
        Meta(description="OpenAI: an unknown input file refuses the create with 400"),
    ] = False
    cancel_keeps_results: Annotated[
        bool,
        Meta(description="a cancelled OpenAI or Gemini batch keeps the output of finished lines"),
    ] = True
    upload_life_seconds: Annotated[
        Seconds,
        Meta(
            description="age at which an uploaded file is gone; 0: as the vendor or the file says"
        ),
    ] = 0.0
    cancel_race: Annotated[
        bool, Meta(description="a cancelled batch runs to its end all the same")
    ] = False
    shuffle: Annotated[bool, Meta(description="results come in another order than requests")] = True
    counts_skew: Annotated[
        int, Meta(description="added to 'completed' / 'succeeded' counts, to make them wrong")
    ] = 0
    unknown_result_lines: Annotated[
        Count, Meta(description="result lines with a custom_id that nobody sent, per batch")
    ] = 0
    call_seconds: Annotated[Seconds, Meta(description="time that a single call takes")] = 0.0
    calls_at_once: Annotated[
        Count, Meta(description="single calls under way beyond which one is refused; 0: no limit")
    ] = 0
    calls_per_second: Annotated[
        float,
        Meta(ge=0, description="rate of single calls beyond which one is refused; 0: no limit"),
    ] = 0.0
    call_retry_seconds: Annotated[
        Seconds, Meta(description="Retry-After of a call refused for calls_at_once")
    ] = 1.0
    crossing_seconds: Annotated[
        Seconds,
        Meta(
            description="a call that comes so soon after an answer with a Retry-After may have "
            "been on its way: it is not counted as early"
        ),
    ] = 0.25
    faults: Annotated[
        list[Fault], Meta(description="a fault as JSON, such as the examples below; repeatable")
    ] = []


SPEEDS: dict[str, dict[str, float]] = {
    "instant": {},
    "demo": {
        "validation_seconds": 1,
        "batch_seconds": 8,
        "finalizing_seconds": 1,
        "cancel_seconds": 1,
    },
    "slow": {
        "validation_seconds": 20,
        "batch_seconds": 300,
        "finalizing_seconds": 10,
        "cancel_seconds": 30,
    },
}
"""Named sets of times; options given one by one win over them."""


def merge(options: Options, changes: dict[str, Any]) -> Options:
    """The options with `changes` applied. Raises msgspec.ValidationError naming the bad one."""
    return msgspec.convert({**msgspec.to_builtins(options), **changes}, Options)
