"""A provider's own check: asked once of each line that is valid otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Raw

from core.batchfile import Finding, LineScanner, Rules, iter_index

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
