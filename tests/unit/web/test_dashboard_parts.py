"""Parts of the dashboard by themselves: how values read, charts, lines in a stream, cookies."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import date, timedelta
from decimal import Decimal

import pytest
from polybatch.cli.output import about_usd
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from core.serving import StartupError
from core.settings import Settings
from services.web.dashboard.charts import HEIGHT, stacked_bars
from services.web.dashboard.lines import _nth_line, numbered_line
from services.web.dashboard.live import event
from services.web.dashboard.session import Sessions
from services.web.dashboard.shown import exact, short, size, span, usd, usd_left

DAY = date(2026, 11, 1)


def test_amounts_show_the_digits_that_count_and_keep_the_exact_one() -> None:
    shown = {"0": "$0", "1234.5": "$1,234.50", "0.0041": "$0.0041", "-0.07": "−$0.070"}
    assert {text: usd(Decimal(text)) for text in shown} == shown
    assert usd(Decimal("0.000000002")) == "$0.000000002"
    assert exact(Decimal("1.230000000")) == "1.23 USD"
    numbers = (999, 999.6, 1_234, Decimal(27_200), 99_960, 999_499, 999_999, 5e9, 2e12)
    assert [short(each) for each in numbers] == [
        "999",
        "1k",
        "1.2k",
        "27.2k",
        "100k",
        "999k",
        "1M",
        "5B",
        "2000B",
    ]
    assert [size(each) for each in (999, 3_000, 999_999, 2_500_000_000)] == [
        "999 bytes",
        "3.0 KB",
        "1.0 MB",
        "2.5 GB",
    ]
    assert [span(each) for each in (59, 3_600, 86_400, 90_000, 604_800)] == [
        "59 s",
        "1 h",
        "24 h",
        "25 h",
        "7 d",
    ]


@pytest.mark.parametrize(
    "text", ["0.054695", "0.000185", "0.05", "0.994", "0.995", "0.0999", "1.001", "1234.561", "7"]
)
def test_nothing_seems_to_cost_less_than_it_does(text: str) -> None:
    """As the command shows it, so that what is shown as the most can be entered as the limit."""
    cost = Decimal(text)
    assert usd(cost) == f"${about_usd(cost)}"
    assert Decimal(usd(cost).lstrip("$").replace(",", "")) >= cost


def test_no_more_seems_to_be_left_than_there_is() -> None:
    shown = {
        "0": "$0",
        "0.054695": "$0.054",
        "0.999": "$0.99",
        "1234.569": "$1,234.56",
        "-0.0711": "−$0.072",
    }
    assert {text: usd_left(Decimal(text)) for text in shown} == shown


def test_a_chart_adds_up_and_stays_within_its_frame() -> None:
    cells = {
        (f"model-{number}", day): Decimal(number + 1) for number in range(9) for day in range(3)
    }
    chart = stacked_bars(cells, [DAY + timedelta(days=day) for day in range(3)])
    assert sum(bar.value for bar in chart.bars) == sum(cells.values())
    assert sum(value for _, _, value in chart.series) == sum(cells.values())
    assert [name for _, name, _ in chart.series] == [
        "model-8",
        "model-7",
        "model-6",
        "model-5",
        "others",
    ]
    assert min(bar.y for bar in chart.bars) >= 0
    assert max(bar.y + bar.height for bar in chart.bars) <= HEIGHT + 0.01
    assert not stacked_bars({}, [DAY]).bars


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
async def test_a_line_is_found_wherever_the_chunks_are_cut(step: int) -> None:
    content = b"one\n\n  \r\ntwo\nthree"

    async def chunks() -> AsyncGenerator[bytes, None]:
        for at in range(0, len(content), step):
            yield content[at : at + step]

    # Lines 2 and 3 are blank: the results do not have them.
    assert await _nth_line(chunks(), 1) == (b"one", 1)
    assert await _nth_line(chunks(), 4) == (b"two", 2)
    assert await _nth_line(chunks(), 5) == (b"three", 3)
    assert (await _nth_line(chunks(), 2))[0] == b""
    assert (await _nth_line(chunks(), 6))[0] == b""


@pytest.mark.parametrize("step", [1, 9, 1000])
async def test_a_line_of_a_retry_is_found_by_its_number(step: int) -> None:
    lines = [b'{"id":"batch_x-%d","custom_id":"a-%d"}' % (n, n + 1) for n in (2, 12, 121)]
    content = b"\n".join([*lines, b""])

    async def chunks() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(content), step):
            yield content[start : start + step]

    assert [await numbered_line(chunks(), n) for n in (2, 12, 121, 1)] == [*lines, b""]


def test_no_text_ends_an_event() -> None:
    assert event("row", "a\r\n\r\nevent: end\rdata: b\n\n", 7) == (
        b"id: 7\nevent: row\ndata: a\ndata: event: end\ndata: data: b\n\n"
    )


def test_replicas_with_one_secret_read_each_others_cookies() -> None:
    settings = Settings(web_session_secret=SecretStr("s" * 32))
    response = Response()
    Sessions(settings).begin(_request(), response, "pb_the-key")
    [header] = [value for name, value in response.raw_headers if name == b"set-cookie"]
    cookie = header.decode().partition(";")[0]
    assert "pb_the-key" not in header.decode()
    assert {"HttpOnly", "SameSite=strict"} <= set(header.decode().split("; "))
    session = Sessions(settings).read(_request(cookie))
    assert session.key == "pb_the-key"
    assert Sessions(Settings()).read(_request(cookie)) is None, "of another secret"
    assert Sessions(settings).read(_request(cookie[:-8] + "AAAAAAA=")) is None, "forged"


def test_over_tls_the_cookie_goes_over_tls_alone() -> None:
    response = Response()
    sessions = Sessions(Settings())
    sessions.begin(_request(scheme="https"), response, "pb_the-key")
    header = response.headers["set-cookie"]
    assert header.startswith("__Host-polybatch_session=")
    assert "Secure" in header.split("; ")


def test_a_secret_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(StartupError, match="at least 32"):
        Sessions(Settings(web_session_secret=SecretStr("short")))


def _request(cookie: str = "", scheme: str = "http") -> Request:
    headers = [(b"host", b"here"), (b"cookie", cookie.encode())]
    return Request(
        {"type": "http", "method": "GET", "scheme": scheme, "path": "/", "headers": headers}
    )
