"""API keys: the first one, whoever starts first, and their administration."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import grpc
import pytest
from polybatch.v1 import files_pb2

from core.ledger import Ledger, Scope, new_secret
from core.serving import StartupError
from services.gateway import __main__ as command
from services.gateway.keys import FIRST_ACCOUNT, ensure_first_key, ensure_operator_key
from tests.support.gateway.running import (
    FINISH,
    SEGMENT,
    Caller,
    Gateway,
    MakeSettings,
    StartGateway,
    lines,
    refused,
)


async def test_the_first_start_makes_a_key_and_an_operators(start_gateway: StartGateway) -> None:
    gateway = await start_gateway()
    settings, accounts = gateway.settings, gateway.ledger.accounts
    secrets = {}
    for path, scope in (
        (settings.api_key_file, Scope.ACCOUNT),
        (settings.operator_key_file, Scope.OPERATOR),
    ):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        secrets[path] = path.read_text()
        key = await accounts.authenticate(secrets[path].strip())
        assert key.scope == scope
    assert {name for _, name in await accounts.list_keys()} == {FIRST_ACCOUNT}
    again = await start_gateway()
    assert {path: path.read_text() for path in secrets} == secrets
    assert len(await again.ledger.accounts.list_keys()) == 2
    assert sorted(each.name for each in path.parent.iterdir() if "key" in each.name) == [
        *("api-key", "operator-key"),
    ]


async def test_gateways_that_start_at_once_agree_on_the_first_key(
    ledger: Ledger, tmp_path: Path
) -> None:
    path = tmp_path / "data" / "api-key"
    await asyncio.gather(*(ensure_first_key(ledger.accounts, path) for _ in range(8)))
    assert len(await ledger.accounts.list_keys()) == 1
    assert await ledger.accounts.authenticate(path.read_text().strip()) is not None
    assert [each.name for each in path.parent.iterdir()] == ["api-key"]


async def test_of_two_machines_one_has_the_first_key(ledger: Ledger, tmp_path: Path) -> None:
    paths = [tmp_path / name / "api-key" for name in ("one", "two", "three")]
    await asyncio.gather(*(ensure_first_key(ledger.accounts, path) for path in paths))
    assert len(await ledger.accounts.list_keys()) == 1
    (left,) = [path for path in paths if path.exists()]
    assert await ledger.accounts.authenticate(left.read_text().strip()) is not None


async def test_a_file_that_a_crash_left_without_its_row_becomes_the_key(
    ledger: Ledger, tmp_path: Path
) -> None:
    path = tmp_path / "api-key"
    secret = new_secret()
    path.write_text(secret + "\n")
    await ensure_first_key(ledger.accounts, path)
    assert path.read_text() == secret + "\n"
    assert await ledger.accounts.authenticate(secret) is not None


async def test_a_key_file_that_holds_no_key(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "api-key"
    path.write_text("\n")
    with pytest.raises(StartupError, match="holds no key"):
        await ensure_first_key(ledger.accounts, path)
    assert await ledger.accounts.list_keys() == []


async def test_a_ledger_that_has_a_key_gets_no_other(ledger: Ledger, tmp_path: Path) -> None:
    key = await ledger.accounts.create_key("team")
    await ledger.accounts.revoke_key(key.key_id)
    await ensure_first_key(ledger.accounts, tmp_path / "api-key")
    assert not (tmp_path / "api-key").exists()


async def test_gateways_that_start_at_once_agree_on_the_operators_key(
    ledger: Ledger, tmp_path: Path
) -> None:
    """In an installation that had a key before there were scopes."""
    await ledger.accounts.create_key("team")
    paths = [tmp_path / name / "operator-key" for name in ("one", "one", "two")]
    await asyncio.gather(*(ensure_operator_key(ledger.accounts, path) for path in paths))
    (path,) = {path for path in paths if path.exists()}
    made = await ledger.accounts.authenticate(path.read_text().strip())
    assert made is not None
    assert [(key.scope, name) for key, name in await ledger.accounts.list_keys()] == [
        (Scope.BATCH, "team"),
        (Scope.OPERATOR, FIRST_ACCOUNT),
    ]
    # Whoever has ended it wants no other.
    await ledger.accounts.revoke_key(made.id)
    await ensure_operator_key(ledger.accounts, tmp_path / "three" / "operator-key")
    assert not (tmp_path / "three").exists()


async def test_calls_without_a_valid_key(gateway: Gateway) -> None:
    revoked = await gateway.ledger.accounts.create_key("team")
    await gateway.ledger.accounts.revoke_key(revoked.key_id)
    for secret, reason in (
        ("", "API_KEY_MISSING"),
        ("pb_wrong", "API_KEY_INVALID"),
        (revoked.secret, "API_KEY_INVALID"),
    ):
        caller = Caller(gateway.channel, secret)
        for call in (caller.get_file("x"), caller.get_batch("x"), caller.upload(lines(1))):
            failure = await refused(call)
            assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)


async def test_keys_of_one_account_share_its_files(gateway: Gateway) -> None:
    file = (await gateway.upload(lines(1))).file
    colleague = await gateway.another_account(FIRST_ACCOUNT)
    assert await colleague.get_file(file.id) == file
    stranger = await gateway.another_account()
    listed = await stranger.files.ListFiles(
        files_pb2.ListFilesRequest(), metadata=stranger.metadata
    )
    assert not listed.files


async def test_a_revoked_key_ends_its_open_uploads_on_every_gateway(
    start_gateway: StartGateway,
) -> None:
    gateways = [await start_gateway(key_recheck=0.05) for _ in range(2)]
    key = await gateways[0].ledger.accounts.create_key("team")
    other = await gateways[0].another_account()
    content = lines(2, size=SEGMENT)

    async def begun(caller: Caller, upload_id: str) -> Any:
        stream = caller.stream()
        await stream.write(
            files_pb2.UploadFileRequest(spec=files_pb2.UploadSpec(upload_id=upload_id))
        )
        await stream.write(files_pb2.UploadFileRequest(chunk=content[: SEGMENT * 3 // 2]))
        async with asyncio.timeout(20):
            # It is open for sure once a segment is committed.
            while not await caller.committed(upload_id):
                pass
        return stream

    callers = [Caller(gateway.channel, key.secret) for gateway in gateways]
    streams = [await begun(caller, f"upload-{number}") for number, caller in enumerate(callers)]
    goes_on = await begun(other, "upload-of-another")
    await gateways[0].ledger.accounts.revoke_key(key.key_id)
    for stream in streams:
        failure = await refused(stream)
        assert failure.code is grpc.StatusCode.UNAUTHENTICATED
        assert failure.reason == "API_KEY_REVOKED"
    await goes_on.write(files_pb2.UploadFileRequest(chunk=content[SEGMENT * 3 // 2 :]))
    await goes_on.write(FINISH)
    assert (await asyncio.wait_for(_reply(goes_on), 20)).file.line_count == 2
    # What had come is kept for another key of the account.
    successor = await gateways[0].another_account("team")
    assert await successor.committed("upload-0") == SEGMENT * 3 // 2
    resumed = await successor.upload(content, upload_id="upload-0", offset=SEGMENT * 3 // 2)
    assert resumed.file.line_count == 2


async def _reply(stream: Any) -> Any:
    return await stream


def run(monkeypatch: pytest.MonkeyPatch, data_dir: Path, *arguments: str) -> int:
    monkeypatch.setenv("POLYBATCH_DATA_DIR", str(data_dir))
    monkeypatch.delenv("POLYBATCH_DATABASE_URL", raising=False)
    return command.main(arguments)


def test_keys_from_the_command_line(
    make_settings: MakeSettings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = make_settings()
    data_dir = settings.data_dir
    arguments = ("keys", "create", "--account", "team", "--name", "ci", "--scope", "account")
    limits = ("--monthly", "12.50", "--providers", "openai", "--models", "gpt-5*, o3")
    assert run(monkeypatch, data_dir, *arguments, *limits) == 0
    shown = dict(row.split(maxsplit=1) for row in capsys.readouterr().out.splitlines()[:-1])
    assert shown["account"].startswith("team (acct_")
    assert run(monkeypatch, data_dir, "keys", "list") == 0
    listed = capsys.readouterr().out
    assert shown["key"] in listed
    assert "team" in listed
    assert "valid" in listed
    assert "ci" in listed
    assert "account  12.5 USD a month" in listed
    assert shown["secret"] not in listed
    for field, said in (
        ("scope", "account"),
        ("budget", "12.5 USD a month"),
        ("models", "gpt-5*, o3"),
    ):
        assert shown[field] == said

    async def is_valid() -> bool:
        ledger = await Ledger.open(settings.effective_database_url)
        try:
            return await ledger.accounts.authenticate(shown["secret"]) is not None
        finally:
            await ledger.close()

    assert asyncio.run(is_valid())
    assert run(monkeypatch, data_dir, "keys", "revoke", shown["key"]) == 0
    assert not asyncio.run(is_valid())
    assert run(monkeypatch, data_dir, "keys", "revoke", shown["key"]) == 1
    capsys.readouterr()
    assert run(monkeypatch, data_dir, "keys", "list") == 0
    assert "revoked" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [("keys", "list"), ("keys", "revoke", "key_1"), ("copy-ledger", "--to", "sqlite:////no")],
)
def test_in_a_wrong_folder_no_ledger_is_made(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
) -> None:
    folder = tmp_path / "wrong"
    assert run(monkeypatch, folder, *words) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: there is no ledger at {folder / 'ledger.sqlite3'}: ")
    assert "POLYBATCH_DATA_DIR" in said
    monkeypatch.setenv("POLYBATCH_DATABASE_URL", f"sqlite:///{folder / 'other'}")
    assert command.main(words) == 1
    assert "set POLYBATCH_DATABASE_URL to where it is" in capsys.readouterr().err
    assert not folder.exists()


_CREATE = ("keys", "create", "--account", "team")


@pytest.mark.parametrize(
    "arguments",
    [
        ("keys",),
        ("keys", "create"),
        ("nonsense",),
        (*_CREATE, "--scope", "everything"),
        (*_CREATE, "--budget", "-1"),
        (*_CREATE, "--budget", "0.0000000001"),
        (*_CREATE, "--monthly", "nan"),
        (*_CREATE, "--budget", "1", "--monthly", "1"),
    ],
)
def test_misuse_of_the_command(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
