"""Messages of the service as dataclasses, whose fields have the names of the messages' own."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from polybatch.models.money import from_money

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Model = TypeVar("_Model", bound="DataclassInstance")

_READERS = {
    "google.protobuf.Timestamp": lambda stamp: stamp.ToDatetime(tzinfo=UTC),
    "google.protobuf.Duration": lambda duration: duration.ToTimedelta(),
    "google.type.Money": from_money,
}


def from_message(model: type[_Model], message: Any, **given: Any) -> _Model:
    """Builds a dataclass from a message.

    Of fields that are not `given`: numbers and texts as they are, repeated ones as tuples,
    timestamps in UTC, durations, and amounts in USD; None where a field that may be left out is.
    """
    descriptors = message.DESCRIPTOR.fields_by_name
    for name in _names(model):
        if name not in given:
            given[name] = _read(message, descriptors[name])
    return model(**given)


@lru_cache
def _names(model: type[DataclassInstance]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(model))


def _read(message: Any, descriptor: Any) -> Any:
    if descriptor.has_presence and not message.HasField(descriptor.name):
        return None
    value = getattr(message, descriptor.name)
    if descriptor.is_repeated:
        return tuple(value)
    if descriptor.message_type is not None:
        return _READERS[descriptor.message_type.full_name](value)
    return value
