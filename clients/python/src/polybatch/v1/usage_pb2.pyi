from google.type import date_pb2 as _date_pb2
from google.type import money_pb2 as _money_pb2
from polybatch.v1 import batches_pb2 as _batches_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UsageGroup(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    USAGE_GROUP_UNSPECIFIED: _ClassVar[UsageGroup]
    USAGE_GROUP_DAY: _ClassVar[UsageGroup]
    USAGE_GROUP_KEY: _ClassVar[UsageGroup]
    USAGE_GROUP_PROVIDER: _ClassVar[UsageGroup]
    USAGE_GROUP_MODEL: _ClassVar[UsageGroup]
    USAGE_GROUP_BATCH: _ClassVar[UsageGroup]
    USAGE_GROUP_MONTH: _ClassVar[UsageGroup]
    USAGE_GROUP_ACCOUNT: _ClassVar[UsageGroup]
USAGE_GROUP_UNSPECIFIED: UsageGroup
USAGE_GROUP_DAY: UsageGroup
USAGE_GROUP_KEY: UsageGroup
USAGE_GROUP_PROVIDER: UsageGroup
USAGE_GROUP_MODEL: UsageGroup
USAGE_GROUP_BATCH: UsageGroup
USAGE_GROUP_MONTH: UsageGroup
USAGE_GROUP_ACCOUNT: UsageGroup

class GetUsageRequest(_message.Message):
    __slots__ = ("to", "group_by", "account", "page_size", "page_token")
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    to: _date_pb2.Date
    group_by: _containers.RepeatedScalarFieldContainer[UsageGroup]
    account: str
    page_size: int
    page_token: str
    def __init__(self, to: _Optional[_Union[_date_pb2.Date, _Mapping]] = ..., group_by: _Optional[_Iterable[_Union[UsageGroup, str]]] = ..., account: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., **kwargs) -> None: ...

class UsageEntry(_message.Message):
    __slots__ = ("day", "key_id", "key_name", "provider", "model", "batch_id", "month", "account_id", "line_count", "unpriced_line_count", "usage", "cost", "late_cost", "account_name")
    DAY_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    MONTH_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    LATE_COST_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    day: _date_pb2.Date
    key_id: str
    key_name: str
    provider: str
    model: str
    batch_id: str
    month: str
    account_id: str
    line_count: int
    unpriced_line_count: int
    usage: _batches_pb2.Usage
    cost: _money_pb2.Money
    late_cost: _money_pb2.Money
    account_name: str
    def __init__(self, day: _Optional[_Union[_date_pb2.Date, _Mapping]] = ..., key_id: _Optional[str] = ..., key_name: _Optional[str] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., batch_id: _Optional[str] = ..., month: _Optional[str] = ..., account_id: _Optional[str] = ..., line_count: _Optional[int] = ..., unpriced_line_count: _Optional[int] = ..., usage: _Optional[_Union[_batches_pb2.Usage, _Mapping]] = ..., cost: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., late_cost: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., account_name: _Optional[str] = ...) -> None: ...

class GetUsageResponse(_message.Message):
    __slots__ = ("entries", "next_page_token", "total")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[UsageEntry]
    next_page_token: str
    total: UsageEntry
    def __init__(self, entries: _Optional[_Iterable[_Union[UsageEntry, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total: _Optional[_Union[UsageEntry, _Mapping]] = ...) -> None: ...
