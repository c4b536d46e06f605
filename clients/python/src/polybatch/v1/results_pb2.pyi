from google.type import money_pb2 as _money_pb2
from polybatch.v1 import batches_pb2 as _batches_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ResultFilter(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESULT_FILTER_UNSPECIFIED: _ClassVar[ResultFilter]
    RESULT_FILTER_SUCCEEDED: _ClassVar[ResultFilter]
    RESULT_FILTER_FAILED: _ClassVar[ResultFilter]
RESULT_FILTER_UNSPECIFIED: ResultFilter
RESULT_FILTER_SUCCEEDED: ResultFilter
RESULT_FILTER_FAILED: ResultFilter

class DownloadResultsRequest(_message.Message):
    __slots__ = ("batch_id", "filter", "offset", "results_revision", "partial", "settled_after", "merged")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    RESULTS_REVISION_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    SETTLED_AFTER_FIELD_NUMBER: _ClassVar[int]
    MERGED_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    filter: ResultFilter
    offset: int
    results_revision: int
    partial: bool
    settled_after: int
    merged: bool
    def __init__(self, batch_id: _Optional[str] = ..., filter: _Optional[_Union[ResultFilter, str]] = ..., offset: _Optional[int] = ..., results_revision: _Optional[int] = ..., partial: _Optional[bool] = ..., settled_after: _Optional[int] = ..., merged: _Optional[bool] = ...) -> None: ...

class DownloadResultsResponse(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: ResultsHeader
    chunk: bytes
    def __init__(self, header: _Optional[_Union[ResultsHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class ResultsHeader(_message.Message):
    __slots__ = ("total_bytes", "line_count", "manifest", "results_revision", "incomplete", "settled_line_count", "settled_until", "complete_until_line")
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    RESULTS_REVISION_FIELD_NUMBER: _ClassVar[int]
    INCOMPLETE_FIELD_NUMBER: _ClassVar[int]
    SETTLED_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SETTLED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_UNTIL_LINE_FIELD_NUMBER: _ClassVar[int]
    total_bytes: int
    line_count: int
    manifest: Manifest
    results_revision: int
    incomplete: bool
    settled_line_count: int
    settled_until: int
    complete_until_line: int
    def __init__(self, total_bytes: _Optional[int] = ..., line_count: _Optional[int] = ..., manifest: _Optional[_Union[Manifest, _Mapping]] = ..., results_revision: _Optional[int] = ..., incomplete: _Optional[bool] = ..., settled_line_count: _Optional[int] = ..., settled_until: _Optional[int] = ..., complete_until_line: _Optional[int] = ...) -> None: ...

class Manifest(_message.Message):
    __slots__ = ("batch_id", "input_sha256", "input_line_count", "results_sha256", "results_bytes", "request_counts", "usage", "shards", "results_revision", "late_line_count", "awaited_line_count", "cost", "unpriced_line_count")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_SHA256_FIELD_NUMBER: _ClassVar[int]
    INPUT_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    RESULTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    RESULTS_BYTES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_COUNTS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    RESULTS_REVISION_FIELD_NUMBER: _ClassVar[int]
    LATE_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    AWAITED_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    input_sha256: str
    input_line_count: int
    results_sha256: str
    results_bytes: int
    request_counts: _batches_pb2.RequestCounts
    usage: _batches_pb2.Usage
    shards: _containers.RepeatedCompositeFieldContainer[ManifestShard]
    results_revision: int
    late_line_count: int
    awaited_line_count: int
    cost: _money_pb2.Money
    unpriced_line_count: int
    def __init__(self, batch_id: _Optional[str] = ..., input_sha256: _Optional[str] = ..., input_line_count: _Optional[int] = ..., results_sha256: _Optional[str] = ..., results_bytes: _Optional[int] = ..., request_counts: _Optional[_Union[_batches_pb2.RequestCounts, _Mapping]] = ..., usage: _Optional[_Union[_batches_pb2.Usage, _Mapping]] = ..., shards: _Optional[_Iterable[_Union[ManifestShard, _Mapping]]] = ..., results_revision: _Optional[int] = ..., late_line_count: _Optional[int] = ..., awaited_line_count: _Optional[int] = ..., cost: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., unpriced_line_count: _Optional[int] = ...) -> None: ...

class ManifestShard(_message.Message):
    __slots__ = ("id", "provider", "model", "provider_batch_id", "line_count", "succeeded", "failed", "retried", "cancelled", "expired", "cost")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    RETRIED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    id: str
    provider: str
    model: str
    provider_batch_id: str
    line_count: int
    succeeded: int
    failed: int
    retried: int
    cancelled: int
    expired: int
    cost: _money_pb2.Money
    def __init__(self, id: _Optional[str] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., provider_batch_id: _Optional[str] = ..., line_count: _Optional[int] = ..., succeeded: _Optional[int] = ..., failed: _Optional[int] = ..., retried: _Optional[int] = ..., cancelled: _Optional[int] = ..., expired: _Optional[int] = ..., cost: _Optional[_Union[_money_pb2.Money, _Mapping]] = ...) -> None: ...

class ListFailuresRequest(_message.Message):
    __slots__ = ("batch_id", "page_size", "page_token", "partial", "cause_id")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    CAUSE_ID_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    page_size: int
    page_token: str
    partial: bool
    cause_id: str
    def __init__(self, batch_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., partial: _Optional[bool] = ..., cause_id: _Optional[str] = ...) -> None: ...

class LineFailure(_message.Message):
    __slots__ = ("line", "custom_id", "code", "message", "status_code", "cause_id")
    LINE_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    CAUSE_ID_FIELD_NUMBER: _ClassVar[int]
    line: int
    custom_id: str
    code: str
    message: str
    status_code: int
    cause_id: str
    def __init__(self, line: _Optional[int] = ..., custom_id: _Optional[str] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., status_code: _Optional[int] = ..., cause_id: _Optional[str] = ...) -> None: ...

class ListFailuresResponse(_message.Message):
    __slots__ = ("failures", "next_page_token")
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    failures: _containers.RepeatedCompositeFieldContainer[LineFailure]
    next_page_token: str
    def __init__(self, failures: _Optional[_Iterable[_Union[LineFailure, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListFailureCausesRequest(_message.Message):
    __slots__ = ("batch_id", "partial")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    partial: bool
    def __init__(self, batch_id: _Optional[str] = ..., partial: _Optional[bool] = ...) -> None: ...

class FailureCause(_message.Message):
    __slots__ = ("id", "code", "field", "message", "line_count", "share", "first_lines", "hint", "provider")
    ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    FIRST_LINES_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    id: str
    code: str
    field: str
    message: str
    line_count: int
    share: float
    first_lines: _containers.RepeatedScalarFieldContainer[int]
    hint: str
    provider: str
    def __init__(self, id: _Optional[str] = ..., code: _Optional[str] = ..., field: _Optional[str] = ..., message: _Optional[str] = ..., line_count: _Optional[int] = ..., share: _Optional[float] = ..., first_lines: _Optional[_Iterable[int]] = ..., hint: _Optional[str] = ..., provider: _Optional[str] = ...) -> None: ...

class ListFailureCausesResponse(_message.Message):
    __slots__ = ("causes", "failure_count", "other_line_count")
    CAUSES_FIELD_NUMBER: _ClassVar[int]
    FAILURE_COUNT_FIELD_NUMBER: _ClassVar[int]
    OTHER_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    causes: _containers.RepeatedCompositeFieldContainer[FailureCause]
    failure_count: int
    other_line_count: int
    def __init__(self, causes: _Optional[_Iterable[_Union[FailureCause, _Mapping]]] = ..., failure_count: _Optional[int] = ..., other_line_count: _Optional[int] = ...) -> None: ...
