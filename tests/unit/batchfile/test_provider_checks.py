"""A provider's own check: asked once of each line that is valid otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, ClassVar

import msgspec
import pytest
from msgspec import Raw

from core.batchfile import (
    INVALID,
    LENIENT,
    NO_GROUP,
    FileChecker,
    Finding,
    Group,
    LineScanner,
    Media,
    MediaReader,
    Plain,
    Problem,
    Rules,
    iter_index,
    read_report,
)
from core.batchfile.repeated_warnings import RepeatedWarnings
from core.blobs import BlobStore, SegmentWriter, StoredFile
from core.failpoints import Failpoint
from core.providers.translation import PlainRequest

MakeLine = Callable[..., bytes]

CLAUDE: dict[str, Any] = {
    "model": "anthropic/claude-4.5-sonnet",
    "messages": [{"role": "user", "content": "Hi"}],
}


def test_lines_of_a_checked_provider_pass_its_check(rules: Rules, chat: MakeLine) -> None:
    asked: list[tuple[str, str, bytes]] = []

    def check(url: str, model: str, body: Raw) -> Iterable[Finding]:
        asked.append((url, model, bytes(body)))
        if b'"n"' in bytes(body):
            return [Finding("body.n", "unsupported", "n is not taken", "error")]
        if b'"seed"' in bytes(body):
            return [Finding("body.seed", "ignored", "seed is ignored", "warning")]
        return []

    def claude(custom_id: str, **fields: object) -> bytes:
        return chat(custom_id, provider="anthropic", body=CLAUDE | fields)

    scanner = LineScanner(
        Rules(rules.providers, {"anthropic": check}), max_line_bytes=10_000, max_lines=100
    )
    lines = [
        claude("first-refused", n=2),
        chat("openai", body={"n": 2}),
        claude("first-good"),
        claude("refused", n=2),
        claude("warned", seed=1),
        chat("wrong otherwise", provider="anthropic", method="GET", body=CLAUDE),
        claude("good"),
    ]
    [scanned] = scanner.feed(b"\n".join(lines) + b"\n")
    _, summary = scanner.finish()

    assert [(problem.line, problem.custom_id) for problem in scanned.problems] == [
        (1, "first-refused"),
        (4, "refused"),
        (6, "wrong otherwise"),
    ]
    assert [(problem.line, problem.custom_id) for problem in summary.warnings] == [(5, "warned")]
    assert [record.line for record in iter_index(scanned.index) if not record.valid] == [1, 4, 6]
    assert summary.invalid_count == 3
    assert {(group.provider, group.lines) for group in summary.groups} == {
        ("openai", 1),
        ("anthropic", 3),
    }
    assert len(asked) == 5
    assert {(url, model) for url, model, _ in asked} == {
        ("/v1/chat/completions", "anthropic/claude-4.5-sonnet")
    }


def lose(_url: str, _model: str, body: Raw) -> Iterable[Finding]:
    """Loses `n`, refuses `stop`, warns of `seed` and of `detail` by place."""
    fields = msgspec.json.decode(body)
    if "n" in fields:
        yield Finding("body.n", "unsupported", "n is lost", "error", lenient=True)
    if "stop" in fields:
        yield Finding("body.stop", "unsupported", "stop is refused", "error")
    if "seed" in fields:
        yield Finding("body.seed", "ignored", "seed is ignored", "warning")
    for place in fields.get("detail", ()):
        yield Finding(f"body.messages[{place}].detail", "ignored", "detail", "warning")


def test_lines_that_only_a_lenient_batch_takes(rules: Rules, chat: MakeLine) -> None:
    def claude(custom_id: str, **fields: object) -> bytes:
        return chat(custom_id, provider="anthropic", body=CLAUDE | fields)

    scanner = LineScanner(
        Rules(rules.providers, {"anthropic": lose}), max_line_bytes=10_000, max_lines=100
    )
    lines = [
        claude("first lost", n=2),
        claude("good"),
        claude("lost", n=2),
        claude("refused", stop="x"),
        claude("both", n=2, stop="x"),
        claude("lost and warned", n=2, seed=1),
    ]
    [scanned] = scanner.feed(b"\n".join(lines) + b"\n")
    _, summary = scanner.finish()
    records = list(iter_index(scanned.index))
    assert [record.flags for record in records] == [LENIENT, 0, LENIENT, INVALID, INVALID, LENIENT]
    assert [record.group for record in records] == [0, 0, 0, NO_GROUP, NO_GROUP, 0]
    assert [(problem.line, problem.field, problem.lenient) for problem in scanned.problems] == [
        (1, "body.n", True),
        (3, "body.n", True),
        (4, "body.stop", False),
        (5, "body.n", True),
        (5, "body.stop", False),
        (6, "body.n", True),
    ]
    assert (summary.invalid_count, summary.lenient_count) == (5, 3)
    assert summary.endpoint == "/v1/chat/completions"
    assert summary.groups == [
        Group("anthropic", CLAUDE["model"], 1, len(lines[1]), lenient_lines=3)
    ]
    assert [(problem.line, problem.field) for problem in summary.warnings] == [(6, "body.seed")]


async def test_a_lenient_line_with_an_id_that_comes_twice_is_invalid(
    store: BlobStore, rules: Rules, chat: MakeLine
) -> None:
    def claude(custom_id: str) -> bytes:
        return chat(custom_id, provider="anthropic", body=CLAUDE | {"n": 2})

    checker = FileChecker(
        store,
        "f",
        Rules(rules.providers, {"anthropic": lose}),
        max_line_bytes=10_000,
        max_lines=100,
        segment_bytes=1000,
    )
    data = b"\n".join([claude("a"), claude("a"), claude("b")])
    stored = SegmentWriter(store, "f/data", segment_bytes=1000, point=Failpoint.UPLOAD_DATA)
    await stored.write(data)
    await stored.close()
    await checker.feed(data)
    checked = await checker.finish(await StoredFile.open(store, "f/data"))
    assert (checked.invalid_count, checked.lenient_count) == (3, 2)
    assert checked.groups == [Group("anthropic", CLAUDE["model"], 0, 0, lenient_lines=2)]
    index = await StoredFile.open(store, "f/index")
    flags = [record.flags for record in iter_index(await index.read(0, index.size))]
    assert [flag & INVALID for flag in flags] == [0, INVALID, 0]


async def test_a_warning_of_many_lines_is_reported_once(
    store: BlobStore, rules: Rules, chat: MakeLine
) -> None:
    checker = FileChecker(
        store,
        "f",
        Rules(rules.providers, {"anthropic": lose}),
        max_line_bytes=10_000,
        max_lines=10_000,
        segment_bytes=1000,
    )
    lines = [
        chat(str(n), provider="anthropic", body=CLAUDE | {"seed": n, "detail": [n, 2 * n]})
        for n in range(3000)
    ]
    lines[1] = b"no"
    data = b"\n".join(lines)
    stored = SegmentWriter(store, "f/data", segment_bytes=1_000_000, point=Failpoint.UPLOAD_DATA)
    await stored.write(data)
    await stored.close()
    await checker.feed(data)
    checked = await checker.finish(await StoredFile.open(store, "f/data"))
    assert (checked.invalid_count, checked.problem_count) == (1, 1)
    report = await StoredFile.open(store, "f/report")
    problems = [problem async for group in read_report(report) for problem in group]
    assert [(problem.line, problem.field, problem.message) for problem in problems] == [
        (1, "body.seed", "seed is ignored (2999 lines; the first)"),
        (1, "body.messages[0].detail", "detail (5998 lines; the first)"),
        (2, "", problems[2].message),
    ]


def test_a_model_is_checked_once_and_an_error_is_one_of_all_its_lines(
    rules: Rules, chat: MakeLine
) -> None:
    asked: list[tuple[str, str, str]] = []

    def check_model(provider: str, url: str, model: str) -> Iterable[Finding]:
        asked.append((provider, url, model))
        if model == "unknown":
            return [Finding("body.model", "unknown_model", "who is that", "warning")]
        if model == "embedder":
            return [Finding("body.model", "model_endpoint_mismatch", "no chat", "error")]
        return ()

    scanner = LineScanner(
        Rules(rules.providers, check_model=check_model), max_line_bytes=10_000, max_lines=100
    )
    models = ["gpt-4.1", "unknown", "embedder", "unknown", "openai/gpt-4.1", "embedder", "gpt-4.1"]
    lines = [chat(str(n), body={"model": model}) for n, model in enumerate(models)]
    [scanned] = scanner.feed(b"\n".join(lines) + b"\n")
    _, summary = scanner.finish()
    assert [problem.line for problem in scanned.problems] == [3, 6]
    assert [problem.line for problem in summary.warnings] == [2]
    assert [record.line for record in iter_index(scanned.index) if not record.valid] == [3, 6]
    assert [group.model for group in summary.groups] == ["gpt-4.1", "unknown", "openai/gpt-4.1"]
    assert [model for _, _, model in asked].count("unknown") == 1
    assert {(provider, url) for provider, url, _ in asked} == {("openai", "/v1/chat/completions")}


def test_kinds_of_warnings_are_kept_a_thousand_at_most() -> None:
    warnings = RepeatedWarnings()
    for line in range(1, 5001):
        warnings.add(Problem(line, "", f"field {line}", "odd", "odd", "warning"))
    problems = warnings.problems()
    assert [problem.line for problem in problems] == [*range(1, 1002)]
    assert problems[-1].message == "odd (4000 lines; the first)"


def test_warnings_of_other_models_are_told_apart() -> None:
    """Up to so many; further ones are counted on the first of them."""
    warnings = RepeatedWarnings()
    for line in range(1, 201):
        words = f"there is no model m{line % 2 if line < 101 else line}"
        warnings.add(Problem(line, "", "body.model", "unknown_model", words, "warning"))
    first, second, *others = [problem.message for problem in warnings.problems()]
    assert first == "there is no model m1 (50 lines; the first)"
    assert second == "there is no model m0 (50 lines; the first)"
    assert others[0] == "there is no model m101"
    assert (len(others), others[-1]) == (49, "there is no model m149 (52 lines; the first)")


class PlainBody(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    messages: Annotated[list[dict[str, str]], msgspec.Meta(min_length=1)]
    stream: None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: msgspec.UnsetType = msgspec.UNSET
    has_options: ClassVar[bool] = False


@pytest.mark.parametrize(
    ("text", "option", "reason"),
    [
        (b"\xff", b"", "invalid_utf8"),
        (b"Hi", b', "tool_choice": "\xff"', "invalid_utf8"),
        (b"Hi", b', "tool_choice": ' + b"[" * 600 + b"]" * 600, "nested_too_deeply"),
    ],
)
def test_no_byte_of_a_plain_request_is_passed_over(
    rules: Rules, chat: MakeLine, text: bytes, option: bytes, reason: str
) -> None:
    scanner = LineScanner(
        Rules(
            rules.providers,
            {"anthropic": lambda *_: ()},
            {"anthropic": Plain(PlainRequest, lambda _: ())},
        ),
        max_line_bytes=10_000,
        max_lines=100,
    )
    good = chat("good", provider="anthropic", body=CLAUDE)
    bad = chat("bad", provider="anthropic", body=CLAUDE)
    bad = bad.replace(b'"Hi"}]', b'"%b"}]%b' % (text, option))
    [scanned] = scanner.feed(b"%b\n%b\n%b\n" % (good, good.replace(b"good", b"more"), bad))
    assert [problem.reason for problem in scanned.problems] == [reason]


def test_a_plain_request_is_looked_at_without_the_check(rules: Rules, chat: MakeLine) -> None:
    asked: list[bytes] = []

    def check(_url: str, _model: str, body: Raw) -> Iterable[Finding]:
        asked.append(bytes(body))
        return []

    def look(body: PlainBody) -> Iterable[Finding] | None:
        match body.messages[0]["content"]:
            case "odd":
                return None
            case "seen":
                return [Finding("body.messages", "seen", "it was seen", "error")]
        return ()

    odd = [{"role": "user", "content": "odd"}]
    seen = [{"role": "user", "content": "seen"}]
    lines = [
        chat("first", provider="anthropic", body=CLAUDE),
        chat("plain", provider="anthropic", body=CLAUDE),
        chat("odd", provider="anthropic", body=CLAUDE | {"messages": odd}),
        chat("fields", provider="anthropic", body=CLAUDE | {"n": 1}),
        chat("prefix", provider=None, body=CLAUDE),
        chat("other"),
        chat("wrong", provider="anthropic", body=CLAUDE | {"messages": []}),
        chat("plain-2", provider="anthropic", body=CLAUDE),
        chat("seen", provider="anthropic", body=CLAUDE | {"messages": seen}),
    ]
    scanner = LineScanner(
        Rules(rules.providers, {"anthropic": check}, {"anthropic": Plain(PlainBody, look)}),
        max_line_bytes=10_000,
        max_lines=100_000,
    )
    [scanned] = scanner.feed(b"\n".join(lines) + b"\n")
    assert [problem.custom_id for problem in scanned.problems] == ["wrong", "seen"]
    valid = [record.valid for record in iter_index(scanned.index)]
    assert valid == [True] * 6 + [False, True, False]
    # The first of each model is examined in full; then all that is not plain.
    assert [b"odd" in body or b'"n"' in body for body in asked] == [False, True, True, False]


def test_a_file_of_other_lines_is_read_as_well(rules: Rules, chat: MakeLine) -> None:
    plain = {"anthropic": Plain(PlainBody, lambda _body: ())}
    scanner = LineScanner(
        Rules(rules.providers, {"anthropic": lambda *_: []}, plain),
        max_line_bytes=10_000,
        max_lines=100_000,
    )
    lines = [
        chat(str(number), provider="anthropic", body=CLAUDE | {"n": 1}) for number in range(3000)
    ]
    list(scanner.feed(b"\n".join(lines) + b"\n"))
    _, summary = scanner.finish()
    assert (summary.line_count, summary.invalid_count) == (3000, 0)


async def test_what_is_no_text_is_weighed_once_and_lies_beside_the_index(
    rules: Rules, chat: MakeLine, store: BlobStore
) -> None:
    asked: list[tuple[str, str]] = []

    def weigh(provider: str, url: str, model: str, body: Raw) -> Media:
        asked.append((provider, model))
        if b"bad" in bytes(body):
            return Media(3, 1, [Finding("messages[0]", "invalid_base64", "no base64", "error")])
        return Media(1000, 765) if b"image_url" in bytes(body) else Media(0, 0)

    def sent(custom_id: str, *parts: dict[str, str]) -> bytes:
        return chat(custom_id, body={"messages": [{"role": "user", "content": list(parts)}]})

    image, text = {"type": "image_url"}, {"type": "text"}
    lines = [
        sent("first", image),
        chat("plain"),
        sent("text", text),
        sent("bad", image, {"bad": ""}),
        b"",
        sent("last", text, image),
    ]
    contents = b"\n".join(lines)
    data = SegmentWriter(store, "f/data", segment_bytes=1 << 20, point=Failpoint.UPLOAD_DATA)
    await data.write(contents)
    await data.close()
    checker = FileChecker(
        store,
        "f",
        Rules(rules.providers, media=weigh),
        max_line_bytes=10_000,
        max_lines=100,
        segment_bytes=1 << 20,
    )
    await checker.feed(contents)
    checked = await checker.finish(await StoredFile.open(store, "f/data"))
    assert [(p.line, p.field, p.reason) for p in checked.problems] == [
        (4, "body.messages[0]", "invalid_base64")
    ]
    assert len(asked) == 4, "a line without a list within its list is not looked at"
    reader = MediaReader(await StoredFile.open(store, "f/media"))
    assert await reader.until(5) == {1: (1000, 765)}
    assert await reader.until(6, {7}) == {}
    again = MediaReader(await StoredFile.open(store, "f/media"))
    assert await again.until(9, {6}) == {6: (1000, 765)}
    assert await MediaReader(await StoredFile.open(store, "g/media")).until(9) == {}
