"""A ledger in another database is the same ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.ledger import Batch, Ledger, TargetNotEmpty, copy_ledger, now
from core.serving import data_folder_lock
from services.gateway.__main__ import main
from tests.support.ledger.rows import batch_row, file_row, shard_row


async def fill(url: str) -> tuple[str, str]:
    """A ledger with a key and a planned batch; returns the key and the batch's id."""
    ledger = await Ledger.open(url)
    key = await ledger.accounts.create_key("default")
    file = await ledger.files.finish_upload(
        file_row(
            account_id=key.account_id,
            upload_id="upload-1",
            line_count=5,
            groups=[{"provider": "openai", "model": "m", "lines": 5, "bytes": 9}],
        )
    )
    batch = batch_row(
        file,
        details={"name": "grüße"},
        prices='{"form": 1}',
        total=5,
        queued=5,
        created_at=now(),
        expires_at=now(),
        due_at=now(),
    )
    assert isinstance(await ledger.batches.create(batch), Batch)
    shards = [shard_row(batch, ordinal=number, model="m", line_count=1) for number in range(5)]
    await ledger.batches.plan(batch.id, shards)
    await ledger.close()
    return key.secret, batch.id


async def test_every_row_arrives_as_it_was(database_url: str, tmp_path: Path) -> None:
    source = f"sqlite+aiosqlite:///{tmp_path / 'source.sqlite3'}"
    secret, batch_id = await fill(source)

    copied = await copy_ledger(source, database_url)

    assert (copied["batches"], copied["shards"], copied["api_keys"]) == (1, 5, 1)
    old, new = await Ledger.open(source), await Ledger.open(database_url)
    try:
        assert await new.batches.get(batch_id) == await old.batches.get(batch_id)
        assert await new.batches.prices(batch_id) == '{"form": 1}'
        assert await new.shards.of_batch(batch_id) == await old.shards.of_batch(batch_id)
        assert await new.accounts.authenticate(secret) is not None
        assert isinstance(await new.batches.cancel(batch_id), Batch)
    finally:
        await old.close()
        await new.close()


async def test_a_database_in_use_is_left_alone(database_url: str, tmp_path: Path) -> None:
    source = f"sqlite+aiosqlite:///{tmp_path / 'source.sqlite3'}"
    await fill(source)
    _, own = await fill(database_url)
    with pytest.raises(TargetNotEmpty, match="accounts"):
        await copy_ledger(source, database_url)
    ledger = await Ledger.open(database_url)
    assert await ledger.batches.get(own) is not None
    await ledger.close()


def test_what_runs_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POLYBATCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("POLYBATCH_DATABASE_URL", raising=False)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ledger.sqlite3").touch()
    target = tmp_path / "target.sqlite3"
    command = ["copy-ledger", "--to", f"sqlite:///{target}"]
    with data_folder_lock(tmp_path / "data"):
        assert main(command) == 1
    assert "in use by another supervisor" in capsys.readouterr().err
    assert not target.exists()
    assert main(command) == 0
    assert "api_keys" in capsys.readouterr().out


def test_a_target_that_is_no_database_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POLYBATCH_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("POLYBATCH_DATABASE_URL", raising=False)
    (tmp_path / "ledger.sqlite3").touch()
    assert main(["copy-ledger", "--to", "mysql://user:secret@host/name"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: the database URL's scheme is 'mysql': expected postgresql://")
    assert "secret" not in said
