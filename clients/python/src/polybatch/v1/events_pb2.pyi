import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.type import money_pb2 as _money_pb2
from polybatch.v1 import batches_pb2 as _batches_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BatchEvent(_message.Message):
    __slots__ = ("batch_id", "account_id", "revision", "kind", "state", "shard_id", "provider", "provider_batch_id", "time", "cost", "unpriced_line_count")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[BatchEvent.Kind]
        CREATED: _ClassVar[BatchEvent.Kind]
        PLANNED: _ClassVar[BatchEvent.Kind]
        SHARD_SUBMITTED: _ClassVar[BatchEvent.Kind]
        SHARD_PROGRESSED: _ClassVar[BatchEvent.Kind]
        SHARD_SETTLED: _ClassVar[BatchEvent.Kind]
        SHARD_WAITING: _ClassVar[BatchEvent.Kind]
        CANCEL_REQUESTED: _ClassVar[BatchEvent.Kind]
        WINDOW_CLOSED: _ClassVar[BatchEvent.Kind]
        FINALIZING: _ClassVar[BatchEvent.Kind]
        ENDED: _ClassVar[BatchEvent.Kind]
        SHARD_RETRIED: _ClassVar[BatchEvent.Kind]
        BATCH_WAITING: _ClassVar[BatchEvent.Kind]
        LATE_RESULTS: _ClassVar[BatchEvent.Kind]
        PAUSED: _ClassVar[BatchEvent.Kind]
        RESUMED: _ClassVar[BatchEvent.Kind]
        CANARY_ENDED: _ClassVar[BatchEvent.Kind]
        HALTED: _ClassVar[BatchEvent.Kind]
        RESCUE_STARTED: _ClassVar[BatchEvent.Kind]
        DELETED: _ClassVar[BatchEvent.Kind]
        RETRY_CREATED: _ClassVar[BatchEvent.Kind]
    KIND_UNSPECIFIED: BatchEvent.Kind
    CREATED: BatchEvent.Kind
    PLANNED: BatchEvent.Kind
    SHARD_SUBMITTED: BatchEvent.Kind
    SHARD_PROGRESSED: BatchEvent.Kind
    SHARD_SETTLED: BatchEvent.Kind
    SHARD_WAITING: BatchEvent.Kind
    CANCEL_REQUESTED: BatchEvent.Kind
    WINDOW_CLOSED: BatchEvent.Kind
    FINALIZING: BatchEvent.Kind
    ENDED: BatchEvent.Kind
    SHARD_RETRIED: BatchEvent.Kind
    BATCH_WAITING: BatchEvent.Kind
    LATE_RESULTS: BatchEvent.Kind
    PAUSED: BatchEvent.Kind
    RESUMED: BatchEvent.Kind
    CANARY_ENDED: BatchEvent.Kind
    HALTED: BatchEvent.Kind
    RESCUE_STARTED: BatchEvent.Kind
    DELETED: BatchEvent.Kind
    RETRY_CREATED: BatchEvent.Kind
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SHARD_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    account_id: str
    revision: int
    kind: BatchEvent.Kind
    state: _batches_pb2.BatchState
    shard_id: str
    provider: str
    provider_batch_id: str
    time: _timestamp_pb2.Timestamp
    cost: _money_pb2.Money
    unpriced_line_count: int
    def __init__(self, batch_id: _Optional[str] = ..., account_id: _Optional[str] = ..., revision: _Optional[int] = ..., kind: _Optional[_Union[BatchEvent.Kind, str]] = ..., state: _Optional[_Union[_batches_pb2.BatchState, str]] = ..., shard_id: _Optional[str] = ..., provider: _Optional[str] = ..., provider_batch_id: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cost: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., unpriced_line_count: _Optional[int] = ...) -> None: ...

class WorkItem(_message.Message):
    __slots__ = ("batch_id", "shard_id")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    SHARD_ID_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    shard_id: str
    def __init__(self, batch_id: _Optional[str] = ..., shard_id: _Optional[str] = ...) -> None: ...
