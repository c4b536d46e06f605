from google.type import date_pb2 as _date_pb2
from google.type import money_pb2 as _money_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Processing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROCESSING_UNSPECIFIED: _ClassVar[Processing]
    PROCESSING_BATCH: _ClassVar[Processing]
    PROCESSING_REAL_TIME: _ClassVar[Processing]
PROCESSING_UNSPECIFIED: Processing
PROCESSING_BATCH: Processing
PROCESSING_REAL_TIME: Processing

class ListPricesRequest(_message.Message):
    __slots__ = ("model", "day")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    model: str
    day: _date_pb2.Date
    def __init__(self, model: _Optional[str] = ..., day: _Optional[_Union[_date_pb2.Date, _Mapping]] = ...) -> None: ...

class ListPricesResponse(_message.Message):
    __slots__ = ("prices",)
    PRICES_FIELD_NUMBER: _ClassVar[int]
    prices: _containers.RepeatedCompositeFieldContainer[Price]
    def __init__(self, prices: _Optional[_Iterable[_Union[Price, _Mapping]]] = ...) -> None: ...

class Price(_message.Message):
    __slots__ = ("provider", "model", "processing", "day", "unpriced", "bands", "origins", "markup", "not_reckoned")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROCESSING_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_FIELD_NUMBER: _ClassVar[int]
    BANDS_FIELD_NUMBER: _ClassVar[int]
    ORIGINS_FIELD_NUMBER: _ClassVar[int]
    MARKUP_FIELD_NUMBER: _ClassVar[int]
    NOT_RECKONED_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    processing: Processing
    day: _date_pb2.Date
    unpriced: str
    bands: _containers.RepeatedCompositeFieldContainer[PriceBand]
    origins: _containers.RepeatedCompositeFieldContainer[PriceOrigin]
    markup: str
    not_reckoned: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ..., processing: _Optional[_Union[Processing, str]] = ..., day: _Optional[_Union[_date_pb2.Date, _Mapping]] = ..., unpriced: _Optional[str] = ..., bands: _Optional[_Iterable[_Union[PriceBand, _Mapping]]] = ..., origins: _Optional[_Iterable[_Union[PriceOrigin, _Mapping]]] = ..., markup: _Optional[str] = ..., not_reckoned: _Optional[_Iterable[str]] = ...) -> None: ...

class PriceBand(_message.Message):
    __slots__ = ("above_prompt_tokens", "per_million")
    class PerMillionEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _money_pb2.Money
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_money_pb2.Money, _Mapping]] = ...) -> None: ...
    ABOVE_PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PER_MILLION_FIELD_NUMBER: _ClassVar[int]
    above_prompt_tokens: int
    per_million: _containers.MessageMap[str, _money_pb2.Money]
    def __init__(self, above_prompt_tokens: _Optional[int] = ..., per_million: _Optional[_Mapping[str, _money_pb2.Money]] = ...) -> None: ...

class PriceOrigin(_message.Message):
    __slots__ = ("source", "kinds", "processing", "since", "where", "note")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    PROCESSING_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    source: str
    kinds: _containers.RepeatedScalarFieldContainer[str]
    processing: Processing
    since: _date_pb2.Date
    where: str
    note: str
    def __init__(self, source: _Optional[str] = ..., kinds: _Optional[_Iterable[str]] = ..., processing: _Optional[_Union[Processing, str]] = ..., since: _Optional[_Union[_date_pb2.Date, _Mapping]] = ..., where: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...
