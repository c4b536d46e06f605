"""The call itself: to checked addresses alone, under the name that was asked for, bounded."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import httpcore2
import pytest
import trustme

from core.webhooks import Answer, Gate, NoAnswer, Sender
from core.webhooks.addresses import is_own, is_public
from tests.support.webhooks.receiver import HANG, RESET, plain, receiving

TIMEOUT = 20.0
HOST = "hooks.example.com"
PUBLIC = "93.184.215.14"


def open_sender(**options: Any) -> Sender:
    return Sender(Gate(allow_private=True), **{"timeout": TIMEOUT, **options})


async def post(sender: Sender, url: str) -> Answer:
    return await sender.post(url, {"webhook-id": "evt_1"}, "{}")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        (PUBLIC, True),
        ("2606:4700::1111", True),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::5db8:d70e", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.0.0.1", False),
        ("192.168.1.1", False),
        ("198.18.0.1", False),
        ("203.0.113.1", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b:1::a00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:f5ff:fffe", False),
        ("2001:db8::1", False),
        ("fc00::1", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("ff02::1", False),
        # A cloud's metadata, documentation, a cloud's services for its machines.
        ("192.0.0.192", False),
        ("::ffff:192.0.0.192", False),
        ("3fff::1", False),
        ("168.63.129.16", False),
    ],
)
def test_what_is_public(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


def test_what_is_this_machines() -> None:
    assert is_own(ip_address("127.0.0.1"))
    assert not is_own(ip_address(PUBLIC))


@pytest.mark.parametrize(
    "found", [["127.0.0.1"], [PUBLIC, "127.0.0.1"], ["::ffff:127.0.0.1"], ["::1"]]
)
async def test_a_name_that_leads_to_this_machine_is_not_called(found: list[str]) -> None:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return found

    async with receiving() as receiver:
        sender = Sender(Gate(allow_private=False, resolve=resolve), timeout=TIMEOUT)
        with pytest.raises(NoAnswer, match="POLYBATCH_WEBHOOK_ALLOW_PRIVATE") as refused:
            await post(sender, f"http://{HOST}:{receiver.port}/")
    assert "127.0.0.1" not in str(refused.value), "the network's layout is nobody's business"
    assert not receiver.calls


class Rewired(httpcore2.AsyncNetworkBackend):
    """Notes where connections go, and makes them to this machine."""

    def __init__(self) -> None:
        self.connected: list[str] = []
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(self, host: str, *args: Any, **kwargs: Any) -> Any:
        self.connected.append(host)
        return await self._inner.connect_tcp("127.0.0.1", *args, **kwargs)


async def test_dns_that_changes_its_answer_after_the_check() -> None:
    """The connection goes to what was checked; certificate, SNI and Host are still the name's."""
    answers = [[PUBLIC], ["127.0.0.1"]]
    authority = trustme.CA()
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert(HOST).configure_cert(serving)
    authority.configure_trust(trusting)
    asked_for: list[str | None] = []
    serving.sni_callback = lambda _socket, name, _context: asked_for.append(name)

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return answers.pop(0)

    network = Rewired()
    async with receiving(serving) as receiver:
        sender = Sender(
            Gate(allow_private=False, resolve=resolve, inner=network), timeout=TIMEOUT, tls=trusting
        )
        assert (await post(sender, f"https://{HOST}:{receiver.port}/hooks?a=b")).ok
    assert network.connected == [PUBLIC]
    assert answers == [["127.0.0.1"]], "it was asked once"
    assert asked_for == [HOST]
    (call,) = receiver.calls
    assert (call.path, call.headers["host"]) == ("/hooks?a=b", f"{HOST}:{receiver.port}")


async def test_the_next_address_of_a_name_is_tried() -> None:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return ["::1", "127.0.0.1"]

    async with receiving() as receiver:
        sender = Sender(Gate(allow_private=True, resolve=resolve), timeout=TIMEOUT)
        assert (await post(sender, f"http://{HOST}:{receiver.port}/")).status == 200


async def test_an_unknown_authority_is_not_trusted() -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(serving)
    async with receiving(serving) as receiver:
        with pytest.raises(NoAnswer, match="certificate is not valid"):
            await post(open_sender(), receiver.url)
    assert not receiver.calls


async def test_redirects_are_not_followed() -> None:
    async with receiving() as inside, receiving() as receiver:
        receiver.answers.append(plain(302, f"location: {inside.url}"))
        answer = await post(open_sender(), receiver.url)
    assert not answer.ok
    assert "302: redirects are not followed" in answer.error
    assert not inside.calls


async def test_a_receiver_that_hangs_and_one_that_breaks_off() -> None:
    async with receiving() as receiver:
        receiver.answers.append(HANG)
        with pytest.raises(NoAnswer, match=r"no answer within 0\.2 s"):
            await post(open_sender(timeout=0.2), receiver.url)
    async with receiving() as receiver:
        receiver.answers += [RESET, b"no http\r\n\r\n"]
        for _ in range(2):
            with pytest.raises(NoAnswer, match="the connection broke"):
                await post(open_sender(), receiver.url)
    with pytest.raises(NoAnswer, match="connection refused"):
        await post(open_sender(), receiver.url)


async def test_an_answer_without_an_end_is_read_as_far_as_its_bound() -> None:
    async with receiving() as receiver:
        receiver.answers += [
            b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n" + b"x" * 100_000,
            b"HTTP/1.1 503 Busy\r\ncontent-length: 10\r\n\r\nshort",
        ]
        assert (await post(open_sender(), receiver.url)).ok
        answer = await post(open_sender(), receiver.url)
    assert answer.error == "answered 503"


async def test_a_name_that_nobody_knows() -> None:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        raise OSError("unknown")

    sender = Sender(Gate(allow_private=True, resolve=resolve), timeout=TIMEOUT)
    with pytest.raises(NoAnswer, match="its name is not known"):
        await post(sender, "https://nowhere.example/")
