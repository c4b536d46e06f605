"""The scenarios that mean something for a client of single calls: grpcurl, over reflection."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import grpc
import trustme
from polybatch import BatchState

from tests.conformance.cell import Cell, chat
from tests.conformance.program import Program
from tests.conformance.scenarios import BAD, bad_lines_of, mixed
from tests.conformance.signals import check

# grpcurl's exit code for a status.
_STATUS = 64
_TYPES = "type.googleapis.com/google.rpc."


async def main_job(cell: Cell) -> None:
    """Get a batch, watch it to its end, download its results."""
    await cell.open()
    batch_id = (await cell.judge.submit(cell.write(mixed()))).id
    watched = await _call(cell, "collector", "StatusService/WatchBatch", batch_id=batch_id)
    await watched.exits(0)
    last = _messages(watched)[-1]["batch"]
    check(last["state"] == "BATCH_STATE_COMPLETED", f"the watch ended with {last['state']}")
    got = await _call(cell, "gateway", "BatchService/GetBatch", batch_id=batch_id)
    await got.exits(0)
    check(_messages(got) == [last], "GetBatch says something else than the watch's last snapshot")
    await _check_download(cell, batch_id)


async def key_revoked(cell: Cell) -> None:
    """During the watch."""
    await cell.open()
    async with cell.held() as provider:
        batch_id = (await cell.judge.submit(cell.write([chat(provider, 1)]))).id
        watching = await _call(cell, "collector", "StatusService/WatchBatch", batch_id=batch_id)
        await cell.until(lambda: batch_id in watching.stdout, "a snapshot")
        await cell.judge.keys.revoke(cell.key.key.id)
        await watching.exits(_STATUS + grpc.StatusCode.UNAUTHENTICATED.value[0])
        info = _details(watching)["ErrorInfo"]
        check(info["reason"] == "API_KEY_REVOKED", f"the reason is {info['reason']}")
        await cell.judge.cancel_batch(batch_id)


async def bad_lines(cell: Cell) -> None:
    """Why a batch is refused, and the validation report."""
    await cell.open()
    file = await cell.judge.upload(cell.write(bad_lines_of()))
    refused = await _call(cell, "gateway", "BatchService/CreateBatch", input_file_id=file.id)
    await refused.exits(_STATUS + grpc.StatusCode.INVALID_ARGUMENT.value[0])
    details = _details(refused)
    reason = details["ErrorInfo"]["reason"]
    check(reason == "INVALID_LINES", f"the reason is {reason}")
    named = [violation["field"] for violation in details["BadRequest"]["field_violations"]]
    wanted = [
        f"line {number}: {field}" if field else f"line {number}" for number, field in BAD.items()
    ]
    check(named == wanted, f"the fields are {named}, not {wanted}")
    report = await _call(
        cell,
        "gateway",
        "FileService/DownloadFile",
        file_id=file.id,
        content="FILE_CONTENT_VALIDATION_REPORT",
    )
    await report.exits(0)
    lines = b"".join(base64.b64decode(m["chunk"]) for m in _messages(report)).splitlines()
    told = {entry["line"]: entry["field"] or "" for entry in map(json.loads, lines)}
    check(told == BAD, f"the report names {told}, not {BAD}")


async def cancelled(cell: Cell) -> None:
    """During the watch."""
    await cell.open()
    async with cell.held() as provider:
        batch_id = (await cell.judge.submit(cell.write([chat(provider, 1)]))).id
        watching = await _call(cell, "collector", "StatusService/WatchBatch", batch_id=batch_id)
        await cell.until(lambda: batch_id in watching.stdout, "a snapshot")
        await cell.judge.cancel_batch(batch_id)
        await watching.exits(0)
    state = _messages(watching)[-1]["batch"]["state"]
    check(state == f"BATCH_STATE_{BatchState.CANCELLED.name}", f"the watch ended with {state}")
    await _check_download(cell, batch_id)


async def tls(cell: Cell) -> None:
    """The services' certificate is of an authority of their own, which the client is told."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    chain, key = issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()
    await cell.open(credentials=grpc.ssl_server_credentials([(key, chain)]))
    authority.cert_pem.write_to_path(cell.folder / "authority.pem")
    batch_id = (await cell.judge.submit(cell.write(mixed()))).id
    known = ["-cacert", str(cell.folder / "authority.pem")]
    doubtful = await _call(cell, "gateway", "BatchService/GetBatch", [], batch_id=batch_id)
    await doubtful.exits(1)
    named = re.search("certificate", doubtful.stderr)
    check(named is not None, "the certificate is not named on stderr")
    got = await _call(cell, "gateway", "BatchService/GetBatch", known, batch_id=batch_id)
    await got.exits(0)
    check(_messages(got)[0]["id"] == batch_id, "another batch came")


async def _call(
    cell: Cell, service: str, method: str, security: list[str] | None = None, **fields: Any
) -> Program:
    """Start a call of a service; `security`: options of TLS, in the clear without."""
    return await cell.start(
        [
            *(["-plaintext"] if security is None else security),
            *("-connect-timeout", "10", "-format-error", "-expand-headers"),
            *("-H", "authorization: Bearer ${POLYBATCH_API_KEY}"),
            *("-d", json.dumps(fields), cell.address(service), f"polybatch.v1.{method}"),
        ],
        cell.connection(),
    )


async def _check_download(cell: Cell, batch_id: str) -> None:
    done = await _call(cell, "collector", "ResultService/DownloadResults", batch_id=batch_id)
    await done.exits(0)
    chunks = [base64.b64decode(message.get("chunk", "")) for message in _messages(done)]
    await cell.compare(batch_id, b"".join(chunks))


def _messages(program: Program) -> list[Any]:
    """The replies: JSON documents, one after the other."""
    return _documents(program.stdout)


def _details(program: Program) -> dict[str, Any]:
    """The details of google.rpc.Status, by their names."""
    (status,) = _documents(program.stderr)
    return {d["@type"].removeprefix(_TYPES): d for d in status["details"]}


def _documents(text: str) -> list[Any]:
    decoder, found, at = json.JSONDecoder(), [], 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        document, at = decoder.raw_decode(text, at)
        found.append(document)
    return found
