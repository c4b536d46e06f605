"""Every RPC that there is, by the generated modules: none has to be remembered."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import polybatch.v1
from google.protobuf.descriptor import MethodDescriptor

METHODS: list[MethodDescriptor] = [
    method
    for module in iter_modules(polybatch.v1.__path__)
    if module.name.endswith("_pb2")
    for service in import_module(f"polybatch.v1.{module.name}").DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


def path_of(method: MethodDescriptor) -> str:
    """As it is called."""
    return f"/{method.containing_service.full_name}/{method.name}"
