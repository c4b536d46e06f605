"""Every RPC, called by whoever may not: without a key, with too little scope, with another
account's ids. The tables have to name each that there is."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message

from core.ledger import Scope
from tests.fuzz.every_rpc import METHODS, path_of
from tests.fuzz.suite_thread import Ended, SuiteThread, account_of, ended_batch
from tests.support.gateway.accounts import SCOPES
from tests.support.gateway.running import line

ACCOUNT_SCOPE = (
    *("CreateKey", "ListKeys", "UpdateKey", "RevokeKey"),
    *("CreateWebhookEndpoint", "UpdateWebhookEndpoint", "DeleteWebhookEndpoint"),
    *("RotateWebhookSecret", "TestWebhookEndpoint", "ResendWebhookDelivery"),
)
OPERATOR_SCOPE = (
    *("CreateAccount", "GetAccount", "ListAccounts", "UpdateAccount", "GrantCredits"),
    *("ListPostings", "PauseProvider", "ResumeProvider"),
)
BATCH_SCOPE = (
    *("UploadFile", "GetUploadStatus", "BeginUpload", "DeleteUpload", "DownloadFile", "GetFile"),
    *("ListFiles", "DeleteFile", "CreateBatch", "SubmitBatch", "EstimateBatch", "GetBatch"),
    *("ListBatches", "CancelBatch", "PauseBatch", "ResumeBatch", "RetryBatch", "DeleteBatch"),
    *("DeleteResults", "DownloadResults", "ListFailures", "ListFailureCauses", "WatchBatch"),
    *("WatchBatches", "GetUsage", "GetCurrentKey", "GetWebhookEndpoint", "ListWebhookEndpoints"),
    *("ListWebhookDeliveries", "ListPrices", "ListProviders", "ConvertLines"),
)
NEEDED = (
    dict.fromkeys(BATCH_SCOPE, Scope.BATCH)
    | dict.fromkeys(ACCOUNT_SCOPE, Scope.ACCOUNT)
    | dict.fromkeys(OPERATOR_SCOPE, Scope.OPERATOR)
)
REFUSED = {
    "": "SCOPE_MISSING",
    **dict.fromkeys(("UpdateKey", "RevokeKey"), "KEY_NOT_FOUND"),
    **dict.fromkeys(("CreateBatch", "EstimateBatch"), "FILE_NOT_FOUND"),
    **dict.fromkeys(("DownloadFile", "GetFile", "DeleteFile"), "FILE_NOT_FOUND"),
    **dict.fromkeys(("GetBatch", "CancelBatch", "PauseBatch", "ResumeBatch"), "BATCH_NOT_FOUND"),
    **dict.fromkeys(("RetryBatch", "DeleteBatch", "DeleteResults"), "BATCH_NOT_FOUND"),
    **dict.fromkeys(("DownloadResults", "ListFailures", "ListFailureCauses"), "BATCH_NOT_FOUND"),
    "WatchBatch": "BATCH_NOT_FOUND",
    **dict.fromkeys(("GetWebhookEndpoint", "UpdateWebhookEndpoint"), "WEBHOOK_NOT_FOUND"),
    **dict.fromkeys(("DeleteWebhookEndpoint", "RotateWebhookSecret"), "WEBHOOK_NOT_FOUND"),
    "TestWebhookEndpoint": "WEBHOOK_NOT_FOUND",
    "ResendWebhookDelivery": "DELIVERY_NOT_FOUND",
    "GetUploadStatus": "UPLOAD_NOT_FOUND",
    # An account has upload ids of its own; a list of what belongs to nobody of it is empty.
    **dict.fromkeys(("BeginUpload", "DeleteUpload", "ListWebhookDeliveries"), ""),
}
"""What another account's ids are answered with, where a key of the scope "account" may ask."""

IDS = {
    **dict.fromkeys(("file_id", "input_file_id"), "file"),
    "batch_id": "batch",
    "endpoint_id": "webhook",
    "delivery_id": "delivery",
    "key_id": "key",
    "account": "account",
    "upload_id": "upload",
}
FIELDS: dict[str, dict[str, Any]] = {
    "CreateWebhookEndpoint": {"url": "https://receiver.invalid/access"},
    "UpdateWebhookEndpoint": {"update_mask": ["description"]},
    "UpdateKey": {"update_mask": ["name"]},
    "DeleteResults": {"kind": 1},
}
SEEN = ("GetFile", "GetBatch", "GetWebhookEndpoint", "GetUploadStatus", "ListKeys")
Ids = dict[str, str]


def request(method: MethodDescriptor, ids: Ids) -> Message:
    """With each of its ids."""
    kind = message_factory.GetMessageClass(method.input_type)
    made: Any = kind(**FIELDS.get(method.name, {}))
    for name in id_fields(method.input_type):
        setattr(made, name, ids[IDS[name]])
    if method.name == "UpdateKey":
        made.key.id = ids["key"]
    if method.name == "UpdateWebhookEndpoint":
        made.endpoint.id = ids["webhook"]
    return made  # type: ignore[no-any-return]


def id_fields(kind: Descriptor) -> list[str]:
    return [field.name for field in kind.fields if field.name in IDS]


def call(
    suite: SuiteThread, name: str, ids: Ids, key: str | None, fields: dict[str, Any] | None = None
) -> Ended:
    method = next(each for each in METHODS if each.name == name)
    asked: Any = request(method, ids)
    for field, value in (fields or {}).items():
        setattr(asked, field, value)
    return suite.call(path_of(method), asked.SerializeToString(), at_most=1, key=key)


def answer(suite: SuiteThread, rpc: str, ids: Ids, **fields: Any) -> Any:
    """As the operator."""
    method = next(each for each in METHODS if each.name == rpc)
    found = call(suite, rpc, ids, suite.secret, fields)
    assert found.code is grpc.StatusCode.OK, found
    return message_factory.GetMessageClass(method.output_type).FromString(found.responses[0])


NOBODY = dict.fromkeys(IDS.values(), "")


@pytest.fixture(scope="module")
def ours(suite: SuiteThread) -> Ids:
    """Ids of all that the first account has."""
    upload: Any = message_factory.GetMessageClass(
        next(each for each in METHODS if each.name == "UploadFile").input_type
    )
    messages = (
        upload(spec={"upload_id": "upload-of-ours"}),
        upload(chunk=line("ours") + b"\n"),
        upload(finish=True),
    )
    found = suite.call(
        "/polybatch.v1.FileService/UploadFile", *(each.SerializeToString() for each in messages)
    )
    assert found.code is grpc.StatusCode.OK, found
    ids = NOBODY | {"upload": "upload-of-ours"}
    ids["file"] = answer(suite, "GetUploadStatus", ids).file_id

    async def prepare() -> tuple[str, str]:
        account = await account_of(suite.settings, suite.secret)
        return account, await ended_batch(suite.settings, account, ids["file"], b'{"id":"a"}\n')

    ids["account"], ids["batch"] = suite.run(prepare)
    ids["key"] = answer(suite, "GetCurrentKey", NOBODY).key.id
    ids["webhook"] = answer(suite, "CreateWebhookEndpoint", NOBODY).endpoint.id
    ids["delivery"] = answer(suite, "TestWebhookEndpoint", ids).id
    return ids


@pytest.fixture(scope="module")
def keys(suite: SuiteThread) -> dict[Scope, str]:
    """Of another account, by scope."""
    answer(suite, "CreateAccount", NOBODY, name="others")
    return {
        scope: answer(
            suite, "CreateKey", NOBODY | {"account": "others"}, scope=SCOPES[scope]
        ).secret
        for scope in Scope
    }


def test_the_tables_have_every_rpc() -> None:
    assert {method.name for method in METHODS} == NEEDED.keys()
    assert len(METHODS) == len(NEEDED)
    for method in METHODS:
        names_something = bool(id_fields(method.input_type)) or "update" in method.name.lower()
        at_most = NEEDED[method.name] is not Scope.OPERATOR
        if names_something and at_most and method.name not in ("CreateKey", "ListKeys", "GetUsage"):
            assert method.name in REFUSED, method.name


def test_nobody_is_served_without_a_valid_key(suite: SuiteThread, ours: Ids) -> None:
    made = answer(suite, "CreateKey", NOBODY)
    answer(suite, "RevokeKey", NOBODY | {"key": made.key.id})
    for name in NEEDED:
        for key, reason in (
            (None, "API_KEY_MISSING"),
            ("pb_" + "x" * 43, "API_KEY_INVALID"),
            (made.secret, "API_KEY_INVALID"),
        ):
            found = call(suite, name, ours, key)
            assert (found.code, found.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason), name
            assert not key or key not in found.message


def test_a_key_of_too_little_scope_is_told_so(
    suite: SuiteThread, ours: Ids, keys: dict[Scope, str]
) -> None:
    for name, needed in NEEDED.items():
        for scope, key in keys.items():
            if not scope.includes(needed):
                found = call(
                    suite, name, NOBODY if name in ("CreateKey", "ListKeys") else ours, key
                )
                assert (found.code, found.reason) == (
                    grpc.StatusCode.PERMISSION_DENIED,
                    "SCOPE_MISSING",
                ), name
                assert found.metadata == {"needed": needed, "scope": scope}, name


def test_another_accounts_ids_are_as_if_they_did_not_exist(
    suite: SuiteThread, ours: Ids, keys: dict[Scope, str]
) -> None:
    missing = {kind: f"{each[:-4]}zzzz" for kind, each in ours.items()}
    before = [answer(suite, name, ours) for name in SEEN]
    for method in METHODS:
        name = method.name
        if method.client_streaming or (not id_fields(method.input_type) and name not in REFUSED):
            continue
        theirs = call(suite, name, ours, keys[Scope.ACCOUNT])
        nobodys = call(suite, name, missing, keys[Scope.ACCOUNT])
        assert theirs.reason == REFUSED.get(name, REFUSED[""]), name
        told = [nobodys.message.replace(missing[kind], each) for kind, each in ours.items() if each]
        assert (theirs.code, theirs.reason) == (nobodys.code, nobodys.reason), name
        assert theirs.message in told, name
        for each in theirs.responses:
            assert not [one for one in ours.values() if one.encode() in each and "-" not in one]
    assert [answer(suite, name, ours) for name in SEEN] == before, "nothing of it was done"


def test_lists_have_nothing_of_another_account(
    suite: SuiteThread, ours: Ids, keys: dict[Scope, str]
) -> None:
    for method in METHODS:
        if method.name.startswith(("List", "Get")) and not method.server_streaming:
            found = call(suite, method.name, NOBODY, keys[Scope.ACCOUNT])
            for each in found.responses:
                assert not [one for one in ours.values() if one.encode() in each], method.name
