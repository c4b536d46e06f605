"""Which urls are taken, by what can be said without looking a name up."""

from __future__ import annotations

import pytest

from core.webhooks import MAX_URL, wrong_url

PUBLIC = "this machine or a private network"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/webhooks",
        "https://hooks.example.com:8443/a/b?token=c%20d&e=f",
        "HTTPS://EXAMPLE.COM",
        "https://xn--bcher-kva.example./",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]:443/",
        "https://example.com/" + "a" * (MAX_URL - 20),
    ],
)
def test_taken(url: str) -> None:
    assert wrong_url(url, allow_private=False) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "begins with https://"),
        ("example.com/webhooks", "begins with https://"),
        ("http://example.com/", "begins with https://"),
        ("ftp://example.com/", "begins with https://"),
        ("https:/example.com/", "begins with https://"),
        ("https:///webhooks", "host"),
        ("https://user:password@example.com/", "user name and password"),
        ("https://@example.com/", "user name and password"),
        ("https://example.com/#part", "fragment"),
        ("https://example.com:0/", "port"),
        ("https://example.com:99999/", "port"),
        ("https://example.com:x/", "port"),
        ("https://exa mple.com/", "printable ASCII"),
        ("https://example.com/\nX-Header: 1", "printable ASCII"),
        ("https://example.com\\@10.0.0.1/", "printable ASCII"),
        ("https://bücher.example/", "xn--"),
        ("https://-example.com/", "host"),
        ("https://a..b/", "host"),
        ("https://[example.com]/", "host"),
        ("https://[::1/", "host"),
        ("https://1.2.3.4.5/", "host"),
        ("https://127.1/", "host"),
        ("https://2130706433/", "host"),
        ("https://0x7f000001/", "host"),
        ("https://localhost/", PUBLIC),
        ("https://db.localhost:8443/", PUBLIC),
        ("https://printer.local/", PUBLIC),
        ("https://127.0.0.1/", PUBLIC),
        ("https://10.1.2.3/", PUBLIC),
        ("https://169.254.169.254/latest/meta-data/", PUBLIC),
        ("https://[::1]/", PUBLIC),
        ("https://[::ffff:10.0.0.1]/", PUBLIC),
        ("https://[fd00::1]/", PUBLIC),
        ("https://example.com/" + "a" * (MAX_URL - 19), "at most 2,048"),
    ],
)
def test_refused_with_what_was_expected(url: str, expected: str) -> None:
    assert expected in (wrong_url(url, allow_private=False) or "taken")


def test_private_ones_where_they_are_allowed() -> None:
    for url in ("http://localhost:8000/hooks", "http://10.1.2.3/", "https://[::1]/"):
        assert wrong_url(url, allow_private=True) is None
    for url in ("http://user@localhost/", "ftp://localhost/", "http://localhost/#x"):
        assert wrong_url(url, allow_private=True)
