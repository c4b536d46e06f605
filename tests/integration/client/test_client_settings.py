"""Where the client connects, with which key; when it tries again; how errors read."""

from __future__ import annotations

from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme
from polybatch import (
    Client,
    ConfigurationError,
    Connection,
    InternalError,
    InvalidLines,
    PolybatchError,
    RetryPolicy,
    Unavailable,
)
from polybatch._transport.translate import translate
from polybatch.retry import Backoff

from tests.support.client.calls import KEY, Clock, call, failure


def test_defaults_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    connection = Connection.resolve(environ=KEY)
    assert (connection.gateway, connection.collector) == ("localhost:50051", "localhost:50052")
    assert connection.api_key == "pb-key"
    assert not connection.tls
    assert "pb-key" not in repr(connection)
    elsewhere = Connection.resolve(
        environ=KEY | {"POLYBATCH_GATEWAY": "[::1]:1", "POLYBATCH_COLLECTOR": "127.0.0.1:2"}
    )
    assert (elsewhere.gateway, elsewhere.collector) == ("[::1]:1", "127.0.0.1:2")
    assert Connection.resolve(gateway="localhost:7", environ=KEY).gateway == "localhost:7"


@pytest.mark.parametrize(
    ("gateway", "setting", "tls"),
    [
        ("localhost:1", "", False),
        ("localhost:1", "1", True),
        ("gateway.example:443", "", True),
        ("gateway.example:443", "0", False),
        ("grpc://gateway.example:443", "", False),
        ("grpcs://localhost:443", "", True),
        ("https://localhost:443", "", True),
        # Names that only look like this machine's.
        ("127.example.com:443", "", True),
        ("localhost.example.com:443", "", True),
        ("127.0.0.2:443", "", False),
        ("[::1]:443", "", False),
        ("grpcs://localhost:443", "1", True),
    ],
)
def test_keys_cross_a_network_under_tls(gateway: str, setting: str, tls: bool) -> None:
    environ = KEY | {"POLYBATCH_TLS": setting}
    connection = Connection.resolve(gateway=gateway, environ=environ)
    assert connection.tls is tls
    assert not connection.gateway.startswith(("grpc", "http"))


def test_tls_settings_that_contradict_each_other() -> None:
    with pytest.raises(ConfigurationError, match="asks for it"):
        Connection.resolve(collector="grpcs://a:1", environ=KEY | {"POLYBATCH_TLS": "0"})
    with pytest.raises(ConfigurationError, match="POLYBATCH_TLS_CLIENT_KEY is not set"):
        Connection.resolve(tls_client_cert="cert.pem", environ=KEY)
    with pytest.raises(ConfigurationError, match="POLYBATCH_TLS_CLIENT_CERT is not set"):
        Connection.resolve(environ=KEY | {"POLYBATCH_TLS_CLIENT_KEY": "key.pem"})


def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    def complaint(**files: Path) -> str:
        connection = Connection.resolve(tls=True, environ=KEY, **files)
        with pytest.raises(ConfigurationError) as caught:
            connection.channel_credentials()
        assert caught.value.reason == "TLS_FILE_UNUSABLE"
        return str(caught.value)

    authority = trustme.CA()
    mine, other = authority.issue_cert("a.example"), authority.issue_cert("b.example")
    cert, key, wrong = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "wrong.pem"
    mine.cert_chain_pems[0].write_to_path(cert)
    mine.private_key_pem.write_to_path(key)
    other.private_key_pem.write_to_path(wrong)
    absent = tmp_path / "absent.pem"
    assert "absent.pem cannot be read: No such file" in complaint(tls_ca=absent)
    assert "key.pem is no PEM file" in complaint(tls_ca=key)
    assert "absent.pem cannot be read" in complaint(tls_client_cert=cert, tls_client_key=absent)
    text = complaint(tls_client_cert=cert, tls_client_key=wrong)
    assert "wrong.pem belongs to another certificate" in text
    assert "set POLYBATCH_TLS_CLIENT_KEY" in text
    right = Connection.resolve(tls=True, tls_client_cert=cert, tls_client_key=key, environ=KEY)
    assert right.channel_credentials() is not None


def test_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        Connection.resolve(environ={})
    assert caught.value.reason == "API_KEY_MISSING"
    assert ".polybatch/api-key" in str(caught.value)
    (tmp_path / ".polybatch").mkdir()
    (tmp_path / ".polybatch" / "api-key").write_text("pb-file\n")
    assert Connection.resolve(environ={}).api_key == "pb-file"
    (tmp_path / "api-key").write_text("pb-elsewhere")
    assert Connection.resolve(environ={"POLYBATCH_DATA_DIR": "."}).api_key == "pb-elsewhere"
    # A file that is named goes before the environment's key.
    assert Connection.resolve(api_key_file="api-key", environ=KEY).api_key == "pb-elsewhere"


@pytest.mark.parametrize("key", ["", "  ", "schlüssel", "two\nlines"])
def test_impossible_keys(key: str) -> None:
    with pytest.raises(ConfigurationError):
        Connection.resolve(api_key=key, environ={})


@pytest.mark.parametrize("address", ["localhost", "http://localhost:1", ":50051", "a/b:1"])
def test_impossible_addresses(address: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Connection.resolve(gateway=address, environ=KEY)
    assert "POLYBATCH_GATEWAY" in caught.value.next_step


def test_unreadable_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        Connection.resolve(environ=KEY | {"POLYBATCH_TLS": "maybe"})
    with pytest.raises(ConfigurationError):
        Client(api_key="k", tls=True, tls_ca=tmp_path / "no-ca.pem")


def backoff(clock: Clock, **policy: float | None) -> Backoff:
    return Backoff(RetryPolicy(**policy), clock=clock, jitter=lambda low, high: high)  # type: ignore[arg-type]


def test_waits_double_up_to_a_limit_and_start_over_with_progress() -> None:
    waits = backoff(Clock(), first_wait=1, longest_wait=5, give_up_after=None)
    got = [waits.wait_before_retry(failure()) for _ in range(5)]
    assert got == [1, 2, 4, 5, 5]
    waits.progress()
    assert waits.wait_before_retry(failure()) == 1


def test_gives_up_after_a_time_without_progress() -> None:
    clock = Clock()
    waits = backoff(clock, first_wait=1, longest_wait=1, give_up_after=100)
    clock.now += 10_000  # A quiet hour before the first failure counts for nothing.
    assert waits.wait_before_retry(failure()) == 1
    clock.now += 50
    assert waits.wait_before_retry(failure()) == 1
    clock.now += 49.5
    assert waits.wait_before_retry(failure()) == 0.5, "the last attempt comes at the end"
    clock.now += 0.5
    assert waits.wait_before_retry(failure()) is None


def test_named_waits_are_obeyed() -> None:
    waits = backoff(Clock(), first_wait=1, give_up_after=100)
    assert waits.wait_before_retry(failure("RESOURCE_EXHAUSTED", 30)) == 30
    assert waits.wait_before_retry(failure("RESOURCE_EXHAUSTED", 300)) is None
    assert waits.wait_before_retry(failure("RESOURCE_EXHAUSTED")) is None


def test_what_does_not_pass_is_not_repeated() -> None:
    for code in ("INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED", "FAILED_PRECONDITION", ""):
        assert backoff(Clock()).wait_before_retry(failure(code)) is None
    unclear = backoff(Clock())
    got = [unclear.wait_before_retry(failure("INTERNAL")) for _ in range(4)]
    assert got[-1] is None
    assert None not in got[:-1]


def test_status_without_details_names_the_server() -> None:
    error = translate(call(grpc.StatusCode.UNAVAILABLE, "refused"), "gateway", "localhost:1")
    assert isinstance(error, Unavailable)
    assert str(error).startswith("gateway at localhost:1: refused (UNAVAILABLE); ")
    unknown = translate(call(grpc.StatusCode.DATA_LOSS, ""), "gateway", "localhost:1")
    assert isinstance(unknown, InternalError)
    assert unknown.code == "DATA_LOSS"


def test_a_call_that_the_service_does_not_know_may_be_newer_than_it() -> None:
    error = translate(call(grpc.StatusCode.UNIMPLEMENTED, ""), "gateway", "localhost:1")
    assert str(error) == (
        "gateway at localhost:1 does not know this call (UNIMPLEMENTED); it may be older than this "
        "client: upgrade it, or check the addresses of gateway and collector."
    )


def test_details_of_another_status_are_left_aside() -> None:
    # A proxy on the way may have replaced the status, but not the details.
    status = b"\x08\x05\x12\x05other"
    trailers = (("grpc-status-details-bin", status),)
    error = translate(call(grpc.StatusCode.UNAVAILABLE, "x", trailers), "gateway", "localhost:1")
    assert error.reason == "UNAVAILABLE"


def test_errors_read_as_one_line() -> None:
    error = PolybatchError("it broke.", reason="BROKEN", next_step="fix it.")
    assert str(error) == "it broke (BROKEN); fix it."
    assert str(PolybatchError("it broke")) == "it broke."
    lines = InvalidLines("2 lines are bad", problems=(), file_id="file_1")
    assert lines.reason == "INVALID_LINES"
    assert lines.code == "INVALID_ARGUMENT"
