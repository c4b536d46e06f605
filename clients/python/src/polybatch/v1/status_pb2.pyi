from polybatch.v1 import batches_pb2 as _batches_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WatchBatchRequest(_message.Message):
    __slots__ = ("batch_id", "last_revision")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_REVISION_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    last_revision: int
    def __init__(self, batch_id: _Optional[str] = ..., last_revision: _Optional[int] = ...) -> None: ...

class WatchBatchResponse(_message.Message):
    __slots__ = ("batch",)
    BATCH_FIELD_NUMBER: _ClassVar[int]
    batch: _batches_pb2.Batch
    def __init__(self, batch: _Optional[_Union[_batches_pb2.Batch, _Mapping]] = ...) -> None: ...

class WatchBatchesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchBatchesResponse(_message.Message):
    __slots__ = ("batch",)
    BATCH_FIELD_NUMBER: _ClassVar[int]
    batch: _batches_pb2.Batch
    def __init__(self, batch: _Optional[_Union[_batches_pb2.Batch, _Mapping]] = ...) -> None: ...
