"""What counts as the same request, and finding them."""

from __future__ import annotations

import json
from collections import defaultdict
from random import Random

import pytest

from core.batchfile import Digests, Pairs, context_of, request_digest
from core.batchfile.result_lines import LineMaker, reused_tail

CONTEXT = context_of("openai", "gpt-4.1", lenient=False)
URL = "/v1/chat/completions"
BODY = b'{"model":"gpt-4.1","messages":[{"role":"user","content":"a"}],"n":1,"stop":["x","y"]}'


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (b'{"stop":["x","y"], "n":1,\n"messages":[{"content":"a","role":"user"}]}', True),
        (BODY.replace(b"gpt-4.1", b"openai/gpt-4.1"), True),
        (BODY.replace(b'"a"', b'"\\u0061"'), True),
        (BODY.replace(b'"n":1', b'"n":2'), False),
        (BODY.replace(b'["x","y"]', b'["y","x"]'), False),
        (BODY.replace(b'"n":1,', b""), False),
    ],
)
def test_equal_bodies(other: bytes, same: bool) -> None:
    digest = request_digest(CONTEXT, URL, BODY)
    assert (request_digest(CONTEXT, URL, other) == digest) is same


def test_what_else_tells_requests_apart() -> None:
    contexts = [
        CONTEXT,
        context_of("azure", "gpt-4.1", lenient=False),
        context_of("openai", "gpt-4.1-mini", lenient=False),
        context_of("openai", "gpt-4.1", lenient=True),
    ]
    digests = {request_digest(context, URL, BODY) for context in contexts}
    digests.add(request_digest(CONTEXT, "/v1/responses", BODY))
    assert len(digests) == len(contexts) + 1


def test_first_lines_and_their_twins() -> None:
    seeded = Random(5)
    digests = Digests()
    lines = defaultdict(list)
    for line in range(1, 2001):
        digest = request_digest(CONTEXT, URL, json.dumps({"n": seeded.randrange(700)}).encode())
        digests.add(digest, line)
        lines[digest].append(line)
    found: dict[bytes, list[int]] = {}
    for number, (first, twins) in enumerate(digests.partitions()):
        assert all(digest[0] == number for digest in first)
        by_first = {line: digest for digest, line in first.items()}
        found |= {digest: [line] for digest, line in first.items()}
        for line, known in twins:
            found[by_first[known]].append(line)
    assert found == lines


def test_pairs_come_back_in_order() -> None:
    seeded = Random(6)
    expected = [(seeded.randrange(1, 1 << 32), seeded.randrange(1, 1 << 32)) for _ in range(3000)]
    pairs = Pairs()
    assert not pairs
    for key, line in expected:
        pairs.add(key, line)
    assert list(pairs) == sorted(expected)


def test_a_line_that_takes_an_answer() -> None:
    lent = (
        b'{"id":"batch_a-7","custom_id":"x","model":"m","dropped":["body.seed"],'
        b'"response":{"status_code":200,"body":{"cost":1}},"error":null,"attempts":2,"cost":0.5}\n'
    )
    made = LineMaker("batch_b", ["m"]).line(1, "y", 0, reused_tail(lent), 0)
    assert json.loads(made) == {
        "id": "batch_b-1",
        "custom_id": "y",
        "model": "m",
        "dropped": ["body.seed"],
        "response": {"status_code": 200, "body": {"cost": 1}},
        "error": None,
        "attempts": 0,
        "reused_from": "batch_a-7",
        "cost": 0,
    }
