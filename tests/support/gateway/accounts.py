"""Keys, accounts and usage of a running gateway, called with some key."""

from __future__ import annotations

from typing import Any

from google.type.money_pb2 import Money
from polybatch.v1 import accounts_pb2, accounts_pb2_grpc, usage_pb2, usage_pb2_grpc

from core.ledger import KeyLimits, Scope
from core.pipeline.messages import money
from tests.support.gateway.running import Caller, Gateway

SCOPES = {
    Scope.BATCH: accounts_pb2.KEY_SCOPE_BATCH,
    Scope.ACCOUNT: accounts_pb2.KEY_SCOPE_ACCOUNT,
    Scope.OPERATOR: accounts_pb2.KEY_SCOPE_OPERATOR,
}


class Holder(Caller):
    """Whoever holds a key."""

    def __init__(self, gateway: Gateway, secret: str, key_id: str = "") -> None:
        super().__init__(gateway.channel, secret)
        self.secret = secret
        self.key_id = key_id
        self.services = {
            "KeyService": accounts_pb2_grpc.KeyServiceStub(gateway.channel),
            "AccountService": accounts_pb2_grpc.AccountServiceStub(gateway.channel),
            "UsageService": usage_pb2_grpc.UsageServiceStub(gateway.channel),
        }

    def call(self, method: str, **fields: Any) -> Any:
        """An RPC by its name, with the fields of its request."""
        for module in (accounts_pb2, usage_pb2):
            for service in module.DESCRIPTOR.services_by_name.values():
                if method in service.methods_by_name:
                    request = getattr(module, service.methods_by_name[method].input_type.name)
                    stub = getattr(self.services[service.name], method)
                    return stub(request(**fields), metadata=self.metadata)
        raise KeyError(method)


def operator(gateway: Gateway) -> Holder:
    """Of the key that the first start has made."""
    return Holder(gateway, gateway.settings.operator_key_file.read_text().strip())


async def holder(gateway: Gateway, account: str = "team", name: str = "", **limits: Any) -> Holder:
    """Of a new key with these limits."""
    made = await gateway.ledger.accounts.create_key(account, name, KeyLimits(**limits))
    return Holder(gateway, made.secret, made.key_id)


def usd(amount: float | int) -> Money:
    """Whole dollars and cents."""
    return money(round(amount * 100) * 10_000_000)


def nanos(amount: Money) -> int:
    assert amount.currency_code == "USD"
    return amount.units * 10**9 + amount.nanos
