"""The RPCs about keys, accounts and usage; see polybatch._transport.methods."""

from __future__ import annotations

from typing import Any

from polybatch._transport.methods import Method, Server, method
from polybatch.v1 import accounts_pb2 as pb
from polybatch.v1 import usage_pb2


def _gateway(path: str, request: Any, response: Any) -> Method:
    return method(Server.GATEWAY, path, request, response)


CREATE_KEY = _gateway("KeyService/CreateKey", pb.CreateKeyRequest, pb.CreateKeyResponse)
LIST_KEYS = _gateway("KeyService/ListKeys", pb.ListKeysRequest, pb.ListKeysResponse)
UPDATE_KEY = _gateway("KeyService/UpdateKey", pb.UpdateKeyRequest, pb.Key)
REVOKE_KEY = _gateway("KeyService/RevokeKey", pb.RevokeKeyRequest, pb.Key)
GET_CURRENT_KEY = _gateway(
    "KeyService/GetCurrentKey", pb.GetCurrentKeyRequest, pb.GetCurrentKeyResponse
)
CREATE_ACCOUNT = _gateway("AccountService/CreateAccount", pb.CreateAccountRequest, pb.Account)
GET_ACCOUNT = _gateway("AccountService/GetAccount", pb.GetAccountRequest, pb.Account)
LIST_ACCOUNTS = _gateway(
    "AccountService/ListAccounts", pb.ListAccountsRequest, pb.ListAccountsResponse
)
UPDATE_ACCOUNT = _gateway("AccountService/UpdateAccount", pb.UpdateAccountRequest, pb.Account)
GRANT_CREDITS = _gateway(
    "AccountService/GrantCredits", pb.GrantCreditsRequest, pb.GrantCreditsResponse
)
LIST_POSTINGS = _gateway(
    "AccountService/ListPostings", pb.ListPostingsRequest, pb.ListPostingsResponse
)
GET_USAGE = _gateway("UsageService/GetUsage", usage_pb2.GetUsageRequest, usage_pb2.GetUsageResponse)
