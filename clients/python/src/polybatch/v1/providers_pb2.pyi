import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KeyState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_STATE_UNSPECIFIED: _ClassVar[KeyState]
    KEY_STATE_ACCEPTED: _ClassVar[KeyState]
    KEY_STATE_REFUSED: _ClassVar[KeyState]
    KEY_STATE_MISSING: _ClassVar[KeyState]
    KEY_STATE_NOT_NEEDED: _ClassVar[KeyState]
KEY_STATE_UNSPECIFIED: KeyState
KEY_STATE_ACCEPTED: KeyState
KEY_STATE_REFUSED: KeyState
KEY_STATE_MISSING: KeyState
KEY_STATE_NOT_NEEDED: KeyState

class Provider(_message.Message):
    __slots__ = ("name", "configured", "key_state", "key_variable", "key_error", "key_checked_at", "endpoints", "models", "limits", "waiting", "held_until", "paused_at", "paused_by")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    KEY_STATE_FIELD_NUMBER: _ClassVar[int]
    KEY_VARIABLE_FIELD_NUMBER: _ClassVar[int]
    KEY_ERROR_FIELD_NUMBER: _ClassVar[int]
    KEY_CHECKED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    HELD_UNTIL_FIELD_NUMBER: _ClassVar[int]
    PAUSED_AT_FIELD_NUMBER: _ClassVar[int]
    PAUSED_BY_FIELD_NUMBER: _ClassVar[int]
    name: str
    configured: bool
    key_state: KeyState
    key_variable: str
    key_error: str
    key_checked_at: _timestamp_pb2.Timestamp
    endpoints: _containers.RepeatedScalarFieldContainer[str]
    models: _containers.RepeatedScalarFieldContainer[str]
    limits: ProviderLimits
    waiting: _containers.RepeatedCompositeFieldContainer[ProviderQueue]
    held_until: _timestamp_pb2.Timestamp
    paused_at: _timestamp_pb2.Timestamp
    paused_by: str
    def __init__(self, name: _Optional[str] = ..., configured: _Optional[bool] = ..., key_state: _Optional[_Union[KeyState, str]] = ..., key_variable: _Optional[str] = ..., key_error: _Optional[str] = ..., key_checked_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., endpoints: _Optional[_Iterable[str]] = ..., models: _Optional[_Iterable[str]] = ..., limits: _Optional[_Union[ProviderLimits, _Mapping]] = ..., waiting: _Optional[_Iterable[_Union[ProviderQueue, _Mapping]]] = ..., held_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., paused_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., paused_by: _Optional[str] = ...) -> None: ...

class ProviderLimits(_message.Message):
    __slots__ = ("line_by_line", "max_lines", "max_bytes", "max_concurrency", "requests_per_minute", "token_limits")
    LINE_BY_LINE_FIELD_NUMBER: _ClassVar[int]
    MAX_LINES_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_LIMITS_FIELD_NUMBER: _ClassVar[int]
    line_by_line: bool
    max_lines: int
    max_bytes: int
    max_concurrency: int
    requests_per_minute: float
    token_limits: _containers.RepeatedCompositeFieldContainer[TokenLimit]
    def __init__(self, line_by_line: _Optional[bool] = ..., max_lines: _Optional[int] = ..., max_bytes: _Optional[int] = ..., max_concurrency: _Optional[int] = ..., requests_per_minute: _Optional[float] = ..., token_limits: _Optional[_Iterable[_Union[TokenLimit, _Mapping]]] = ...) -> None: ...

class TokenLimit(_message.Message):
    __slots__ = ("model", "enqueued_tokens")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENQUEUED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    model: str
    enqueued_tokens: int
    def __init__(self, model: _Optional[str] = ..., enqueued_tokens: _Optional[int] = ...) -> None: ...

class ProviderQueue(_message.Message):
    __slots__ = ("reason", "line_count", "shard_count")
    REASON_FIELD_NUMBER: _ClassVar[int]
    LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SHARD_COUNT_FIELD_NUMBER: _ClassVar[int]
    reason: str
    line_count: int
    shard_count: int
    def __init__(self, reason: _Optional[str] = ..., line_count: _Optional[int] = ..., shard_count: _Optional[int] = ...) -> None: ...

class ListProvidersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListProvidersResponse(_message.Message):
    __slots__ = ("providers",)
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedCompositeFieldContainer[Provider]
    def __init__(self, providers: _Optional[_Iterable[_Union[Provider, _Mapping]]] = ...) -> None: ...

class PauseProviderRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ResumeProviderRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...
