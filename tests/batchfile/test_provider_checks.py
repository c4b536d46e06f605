"""A provider's own check: asked once of each line that is valid otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from msgspec import Raw

from core.batchfile import Finding, LineScanner, Plain, Rules, iter_index

MakeLine = Callable[..., bytes]

CLAUDE = {"model": "anthropic/claude-4.5-sonnet", "messages": [{"role": "user", "content": "Hi"}]}


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

    assert [
        (problem.line, problem.custom_id, problem.severity) for problem in scanned.problems
    ] == [
        (1, "first-refused", "error"),
        (4, "refused", "error"),
        (5, "warned", "warning"),
        (6, "wrong otherwise", "error"),
    ]
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


class PlainBody(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    messages: list[dict[str, str]]
    stream: None = None


def test_a_plain_request_passes_without_the_check(rules: Rules, chat: MakeLine) -> None:
    asked: list[bytes] = []

    def check(_url: str, _model: str, body: Raw) -> Iterable[Finding]:
        asked.append(bytes(body))
        return []

    def passes(body: PlainBody) -> bool:
        return bool(body.messages) and body.messages[0]["content"] != "odd"

    odd = [{"role": "user", "content": "odd"}]
    lines = [
        chat("first", provider="anthropic", body=CLAUDE),
        chat("plain", provider="anthropic", body=CLAUDE),
        chat("odd", provider="anthropic", body=CLAUDE | {"messages": odd}),
        chat("fields", provider="anthropic", body=CLAUDE | {"n": 1}),
        chat("prefix", provider=None, body=CLAUDE),
        chat("other"),
        chat("wrong", provider="anthropic", body=CLAUDE | {"messages": []}),
        chat("plain-2", provider="anthropic", body=CLAUDE),
    ]
    scanner = LineScanner(
        Rules(rules.providers, {"anthropic": check}, {"anthropic": Plain(PlainBody, passes)}),
        max_line_bytes=10_000,
        max_lines=100_000,
    )
    [scanned] = scanner.feed(b"\n".join(lines) + b"\n")
    assert [problem.custom_id for problem in scanned.problems] == ["wrong"]
    assert [record.valid for record in iter_index(scanned.index)] == [True] * 6 + [False, True]
    # The first of each model is examined in full; then all that is not plain.
    assert [b"odd" in body or b'"n"' in body for body in asked] == [False, True, True, False]


def test_a_file_of_other_lines_is_read_as_well(rules: Rules, chat: MakeLine) -> None:
    plain = {"anthropic": Plain(PlainBody, lambda _body: True)}
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
