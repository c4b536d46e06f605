"""The words of the command: counts, times, grouped problems, hints and shortened ids."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polybatch
import pytest
from polybatch import Batch, BatchState, LineProblem
from polybatch.cli import batch_commands, watch_command
from polybatch.cli.describe import describe_counts, describe_end, describe_pace, describe_waiting
from polybatch.cli.ids import _pick
from polybatch.cli.invocation import called_as
from polybatch.cli.output import age, duration, percent, printable
from polybatch.cli.problems import _MOST_GROUPS, ProblemGroups
from polybatch.cli.session import Session, UnusableInput, tried_output
from polybatch.errors import NotFound

from tests.support.client.batches import snapshot

IDS = [f"batch_0mx0p8{end}" for end in ("md0b1g04eqpk21", "iqp2mpdo13r7dh", "byh32bfp60iwsc")]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (80, "1 min 20 s"),
        (7230, "2 h 0 min"),
        (4 * 86_400 + 3 * 3600 + 59, "4 d 3 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
    now = datetime.now(UTC)
    assert age(now - timedelta(seconds=seconds), now) == " ".join(text.split()[:2])


@pytest.mark.parametrize(
    "text",
    [
        "\u6771\u4eac\u3000\u591c\u9593",  # the space of Japanese
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian, with its non-joiner
        "\U0001f469\u200d\U0001f4bb",  # two emoji that are joined to one
        "12\u202f000\u00a0lignes",
    ],
)
def test_texts_of_all_scripts_stay_as_they_are(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    "letter", ["\x1b", "\n", "\x7f", "\x9b", "\u202e", "\u2066", "\u2028", "\ue000"]
)
def test_what_a_terminal_would_obey_is_not_shown(letter: str) -> None:
    assert printable(f"a\u3000{letter}b") == "a\u3000?b"


def test_a_hundred_percent_is_all() -> None:
    assert [percent(each) for each in (0.0, 0.99, 29.0, 99.5, 99.999, 100.0)] == [
        "0 %",
        "0 %",
        "29 %",
        "99 %",
        "99 %",
        "100 %",
    ]


def test_counts_say_where_lines_are() -> None:
    batch = Batch.from_proto(snapshot("b", 1, succeeded=2, failed=1, submitted=3, retrying=4))
    assert describe_counts(batch) == (
        "3 of 100 lines done, 1 failed, 3 running at the provider, 4 to be sent again, 90 waiting"
    )
    assert describe_counts(Batch.from_proto(snapshot("b", 1, total=1))) == (
        "0 of 1 line done, 1 waiting"
    )


def test_pace_is_told_once_it_is_known() -> None:
    message = snapshot("b", 1)
    began = message.created_at.ToDatetime(tzinfo=UTC)
    message.in_progress_at.FromDatetime(began + timedelta(seconds=20))
    now = began + timedelta(seconds=80)
    assert describe_pace(Batch.from_proto(message), now) == "1 min 20 s"
    message.request_counts.succeeded = 30
    assert describe_pace(Batch.from_proto(message), now) == "1 min 20 s, 30 lines/min"
    message.state = BatchState.COMPLETED.to_proto()
    message.completed_at.FromDatetime(began + timedelta(seconds=35))
    assert describe_pace(Batch.from_proto(message), now) == "35 s, 2.0 lines/s"
    # A clock that is behind.
    assert describe_pace(Batch.from_proto(snapshot("b", 1)), began - timedelta(1)) == ""


def test_the_end_is_told_once_it_is_expected() -> None:
    message = snapshot("b", 1)
    assert describe_end(Batch.from_proto(message)) == ""
    noon = datetime.now().astimezone().replace(hour=12, minute=0, second=0, microsecond=0)
    ends = message.completion_estimate
    for field, minutes in (("likely_from", 5), ("likely_until", 20), ("range_from", 5)):
        getattr(ends, field).FromDatetime((noon + timedelta(minutes=minutes)).astimezone(UTC))
    ends.range_until.FromDatetime((noon + timedelta(days=1)).astimezone(UTC))
    tomorrow = noon + timedelta(days=1)
    assert describe_end(Batch.from_proto(message), noon) == (
        f"should end at 12:05 to 12:20 (9 of 10: 12:05 to {tomorrow:%m-%d} 12:00)"
    )
    message.state = BatchState.COMPLETED.to_proto()
    assert describe_end(Batch.from_proto(message), noon) == ""


def problem(line: int, text: str, field: str = "body.n", reason: str = "r") -> LineProblem:
    return LineProblem(line, f"c{line}", field, reason, text)


def test_equal_problems_are_told_once() -> None:
    found = [problem(n, "no", f"body.messages[{n}].role") for n in range(1, 9)]
    found += [problem(9, "used in line 4"), problem(10, "used in line 5"), problem(11, "other")]
    found += [problem(11, "twice", "body.stop[0]"), problem(11, "twice", "body.stop[1]")]
    assert list(ProblemGroups(found).lines("in.jsonl", 8)) == [
        "in.jsonl: error: all 8 lines: body.messages[*].role: no (r)",
        "in.jsonl: error: 2 lines (9, 10): body.n: used in line 4 (r)",
        "in.jsonl:11: error: c11: body.n: other (r)",
        "in.jsonl:11: error: c11: body.stop[0]: twice (r)",
    ]
    assert next(ProblemGroups(found).lines("x", 99)).startswith(
        "x: error: 8 lines (1, 2, 3, 4, 5, ...): "
    )


def test_kinds_without_end_take_little_memory() -> None:
    groups = ProblemGroups(problem(n, f"model {n}") for n in range(2 * _MOST_GROUPS))
    assert len(groups) == _MOST_GROUPS + 1
    *_, last = groups.lines("x", 0)
    assert f"{_MOST_GROUPS:,} lines" in last
    assert last.endswith(f"model {_MOST_GROUPS}; others of this kind alike (r)")


def test_called_as(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "my tools" / "polybatch"
    script.parent.mkdir()
    script.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(script.parent))
    assert called_as(str(script)) == "polybatch"
    assert called_as(".venv/bin/polybatch") == ".venv/bin/polybatch"
    monkeypatch.setenv("PATH", "/nowhere")
    assert called_as(str(script)) == f"'{script}'"
    assert called_as("/x/polybatch/__main__.py", "python3") == "python3 -m polybatch"
    assert called_as("/x/of-the-user.py") == "polybatch"


def test_hints_repeat_the_connection() -> None:
    session = Session(".venv/bin/polybatch")
    session.options = {"json": True, "wait": 3.0, "gateway": "a:1", "tls": False, "tls_ca": "my ca"}
    assert session.command("watch", "batch_1") == (
        ".venv/bin/polybatch watch batch_1 --gateway a:1 --no-tls --tls-ca 'my ca'"
    )


def test_shortened_ids() -> None:
    newest, _, oldest = IDS
    for given, whole in (("last", newest), ("0mx0p8by", oldest), (oldest[:15], oldest)):
        assert _pick("batch", given, IDS) == whole
    assert _pick("batch", "qpk21", IDS) == newest
    assert _pick("batch", "zzz", IDS) == "zzz"
    assert _pick("batch", "batch", IDS[:1]) == "batch", "with which all of them begin"
    with pytest.raises(UnusableInput, match="fits 3 batches"):
        _pick("batch", "0mx0p8", IDS)
    with pytest.raises(NotFound):
        _pick("batch", "last", [])


def test_an_output_is_tried(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.touch()
    tried_output(str(tmp_path / "out.jsonl"), str(source))
    tried_output("-")
    tried_output("/dev/null")
    assert list(tmp_path.iterdir()) == [source]
    for wrong in (tmp_path, tmp_path / "none" / "x", source, source / "x"):
        with pytest.raises(UnusableInput):
            tried_output(str(wrong), str(source))


@pytest.mark.parametrize(
    ("counts", "cause", "said"),
    [
        ({"failed": 100}, ("bad_key", "bad_key: no such key"), "every line failed for one cause"),
        ({"expired": 100}, ("bad_key", "no such key"), "no line was answered for one cause"),
    ],
)
def test_a_cause_says_its_code_once(
    counts: dict[str, int], cause: tuple[str, str], said: str
) -> None:
    message = snapshot("b", 3, "COMPLETED", **counts)
    message.common_cause.code, message.common_cause.message = cause
    assert describe_waiting(Batch.from_proto(message)) == [f"{said}: bad_key: no such key"]
    message.common_cause.message = " "
    [line] = describe_waiting(Batch.from_proto(message))
    assert line == f"{said}: bad_key: no reason was given"


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"succeeded": 97, "cancelled": 3}, "the lines without an answer: polybatch failures b"),
        ({"succeeded": 97, "failed": 1, "expired": 2}, "why lines failed: polybatch failures b"),
    ],
)
def test_lines_that_were_cancelled_have_not_failed(
    counts: dict[str, int], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = Batch.from_proto(snapshot("b", 3, "CANCELLED", **counts))
    watch_command.explain_outcome(Session(), batch, "results.jsonl")
    assert capsys.readouterr().err == f"{said}\n"


def test_all_states_can_be_asked_for() -> None:
    assert set(batch_commands._STATES) == set(BatchState) - {BatchState.UNSPECIFIED}


def test_names_are_there_for_completion() -> None:
    assert set(polybatch.__all__) <= set(dir(polybatch))
    assert "polybatch" in sys.modules


def test_advice_about_a_file_of_another_kind_can_be_pasted() -> None:
    said = "expected JSON lines: `polybatch convert FILE -o lines.jsonl` turns it into that"
    told = Session("./polybatch").about_file(said, "data/a b.csv", "--provider", "openai")
    assert "`./polybatch convert 'data/a b.csv' -o lines.jsonl`" in told
