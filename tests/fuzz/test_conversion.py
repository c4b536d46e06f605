"""Converting anything: a line is converted or refused, a file read or refused, and nothing else."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polybatch import ConfigurationError, InvalidRequest
from polybatch._convert import Record, Template, open_content

from core.providers.contract import LineRejected
from core.providers.conversion import Form, Target, convert_line
from tests.fuzz.budget import examples
from tests.fuzz.json_values import changed
from tests.support.providers.conversion_lines import CLAUDE, GOOGLE, chat_line

CHAT = json.loads(
    chat_line(
        {
            "model": "claude-sonnet-4-5",
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 9,
        }
    )
)
RESPONSES: dict[str, Any] = CHAT | {
    "url": "/v1/responses",
    "body": {"model": "claude-sonnet-4-5", "input": "hi"},
}
TARGETS = [
    Target(form, model, lenient=lenient)
    for form in (None, *Form)
    for model in ("", "claude-sonnet-4-5", "gemini-2.5-flash")
    for lenient in (False, True)
]
FILES = [
    b'{"custom_id": "a"}\n{"custom_id": "b"}\n',
    b'[\n{"custom_id": "a"},\n{"b": "\\""}]',
    b'id,text\n1,"x\ny"\n2,z\n',
    '{"a": 1}\n'.encode("utf-16"),
    gzip.compress(b"{}\n", mtime=0),
]


@pytest.mark.parametrize("line", [CHAT, RESPONSES, CLAUDE, GOOGLE])
@given(data=st.data(), target=st.sampled_from(TARGETS))
@settings(max_examples=examples(60))
def test_a_line_is_converted_or_refused(
    line: dict[str, Any], data: st.DataObject, target: Target
) -> None:
    raw = data.draw(changed(line))
    try:
        made, _ = convert_line(raw, target)
    except LineRejected as error:
        refused = error
    else:
        assert made == raw or b"\n" not in made
        return
    assert refused.reason
    assert refused.message


@pytest.mark.parametrize("content", FILES)
@given(data=st.data())
@settings(max_examples=examples(40))
def test_a_file_is_read_or_refused(content: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(content)))
    cut = data.draw(st.integers(0, 4))
    changed_content = content[:at] + data.draw(st.binary(max_size=6)) + content[at + cut :]
    template = data.draw(st.sampled_from([Template(), Template(prompt="{text}", model="m")]))
    try:
        with open_content(io.BytesIO(changed_content), template) as read:
            for record in read.records:
                assert not isinstance(record, Record) or b"\n" not in record.line
    except (InvalidRequest, ConfigurationError) as error:
        refused = error
    else:
        return
    assert refused.message
