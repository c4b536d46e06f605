import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.type import money_pb2 as _money_pb2
from polybatch.v1 import files_pb2 as _files_pb2
from polybatch.v1 import prices_pb2 as _prices_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ResultsKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESULTS_KIND_UNSPECIFIED: _ClassVar[ResultsKind]
    RESULTS_KIND_SUCCEEDED: _ClassVar[ResultsKind]
    RESULTS_KIND_FAILED: _ClassVar[ResultsKind]

class BatchPriority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BATCH_PRIORITY_UNSPECIFIED: _ClassVar[BatchPriority]
    BATCH_PRIORITY_LOW: _ClassVar[BatchPriority]
    BATCH_PRIORITY_NORMAL: _ClassVar[BatchPriority]
    BATCH_PRIORITY_HIGH: _ClassVar[BatchPriority]

class BatchState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BATCH_STATE_UNSPECIFIED: _ClassVar[BatchState]
    BATCH_STATE_VALIDATING: _ClassVar[BatchState]
    BATCH_STATE_IN_PROGRESS: _ClassVar[BatchState]
    BATCH_STATE_FINALIZING: _ClassVar[BatchState]
    BATCH_STATE_COMPLETED: _ClassVar[BatchState]
    BATCH_STATE_FAILED: _ClassVar[BatchState]
    BATCH_STATE_EXPIRED: _ClassVar[BatchState]
    BATCH_STATE_CANCELLING: _ClassVar[BatchState]
    BATCH_STATE_CANCELLED: _ClassVar[BatchState]

class CanaryState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CANARY_STATE_UNSPECIFIED: _ClassVar[CanaryState]
    CANARY_STATE_RUNNING: _ClassVar[CanaryState]
    CANARY_STATE_PASSED: _ClassVar[CanaryState]
    CANARY_STATE_FAILED: _ClassVar[CanaryState]
RESULTS_KIND_UNSPECIFIED: ResultsKind
RESULTS_KIND_SUCCEEDED: ResultsKind
RESULTS_KIND_FAILED: ResultsKind
BATCH_PRIORITY_UNSPECIFIED: BatchPriority
BATCH_PRIORITY_LOW: BatchPriority
BATCH_PRIORITY_NORMAL: BatchPriority
BATCH_PRIORITY_HIGH: BatchPriority
BATCH_STATE_UNSPECIFIED: BatchState
BATCH_STATE_VALIDATING: BatchState
BATCH_STATE_IN_PROGRESS: BatchState
BATCH_STATE_FINALIZING: BatchState
BATCH_STATE_COMPLETED: BatchState
BATCH_STATE_FAILED: BatchState
BATCH_STATE_EXPIRED: BatchState
BATCH_STATE_CANCELLING: BatchState
BATCH_STATE_CANCELLED: BatchState
CANARY_STATE_UNSPECIFIED: CanaryState
CANARY_STATE_RUNNING: CanaryState
CANARY_STATE_PASSED: CanaryState
CANARY_STATE_FAILED: CanaryState

class RequestCounts(_message.Message):
    __slots__ = ("total", "succeeded", "failed", "queued", "submitted", "processed", "retrying", "cancelled", "expired")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    PROCESSED_FIELD_NUMBER: _ClassVar[int]
    RETRYING_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    total: int
    succeeded: int
    failed: int
    queued: int
    submitted: int
    processed: int
    retrying: int
    cancelled: int
    expired: int
    def __init__(self, total: _Optional[int] = ..., succeeded: _Optional[int] = ..., failed: _Optional[int] = ..., queued: _Optional[int] = ..., submitted: _Optional[int] = ..., processed: _Optional[int] = ..., retrying: _Optional[int] = ..., cancelled: _Optional[int] = ..., expired: _Optional[int] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "total_tokens", "cache_write_tokens")
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REASONING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    total_tokens: int
    cache_write_tokens: int
    def __init__(self, input_tokens: _Optional[int] = ..., cached_input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., reasoning_tokens: _Optional[int] = ..., total_tokens: _Optional[int] = ..., cache_write_tokens: _Optional[int] = ...) -> None: ...

class BatchCost(_message.Message):
    __slots__ = ("so_far", "expected", "at_most", "reserved", "unpriced_line_count", "max_cost", "saved", "family")
    SO_FAR_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    AT_MOST_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_FIELD_NUMBER: _ClassVar[int]
    SAVED_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    so_far: _money_pb2.Money
    expected: _money_pb2.Money
    at_most: _money_pb2.Money
    reserved: _money_pb2.Money
    unpriced_line_count: int
    max_cost: _money_pb2.Money
    saved: _money_pb2.Money
    family: _money_pb2.Money
    def __init__(self, so_far: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., expected: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., at_most: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., reserved: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., unpriced_line_count: _Optional[int] = ..., max_cost: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., saved: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., family: _Optional[_Union[_money_pb2.Money, _Mapping]] = ...) -> None: ...

class CompletionEstimate(_message.Message):
    __slots__ = ("likely_from", "likely_until", "range_from", "range_until")
    LIKELY_FROM_FIELD_NUMBER: _ClassVar[int]
    LIKELY_UNTIL_FIELD_NUMBER: _ClassVar[int]
    RANGE_FROM_FIELD_NUMBER: _ClassVar[int]
    RANGE_UNTIL_FIELD_NUMBER: _ClassVar[int]
    likely_from: _timestamp_pb2.Timestamp
    likely_until: _timestamp_pb2.Timestamp
    range_from: _timestamp_pb2.Timestamp
    range_until: _timestamp_pb2.Timestamp
    def __init__(self, likely_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., likely_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., range_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., range_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Canary(_message.Message):
    __slots__ = ("lines_per_model", "max_failure_rate", "state")
    LINES_PER_MODEL_FIELD_NUMBER: _ClassVar[int]
    MAX_FAILURE_RATE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    lines_per_model: int
    max_failure_rate: float
    state: CanaryState
    def __init__(self, lines_per_model: _Optional[int] = ..., max_failure_rate: _Optional[float] = ..., state: _Optional[_Union[CanaryState, str]] = ...) -> None: ...

class BatchError(_message.Message):
    __slots__ = ("code", "message", "line", "field")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    line: int
    field: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., line: _Optional[int] = ..., field: _Optional[str] = ...) -> None: ...

class ShardStatus(_message.Message):
    __slots__ = ("id", "provider", "model", "line_count", "state", "provider_batch_id", "waiting_reason", "cost", "submitted_at", "settled_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    WAITING_REASON_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    SETTLED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    provider: str
    model: str
    line_count: int
    state: str
    provider_batch_id: str
    waiting_reason: str
    cost: _money_pb2.Money
    submitted_at: _timestamp_pb2.Timestamp
    settled_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., line_count: _Optional[int] = ..., state: _Optional[str] = ..., provider_batch_id: _Optional[str] = ..., waiting_reason: _Optional[str] = ..., cost: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., submitted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., settled_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("id", "state", "revision", "input_file_id", "endpoint", "request_counts", "progress_percent", "display_state", "errors", "metadata", "completion_window", "skip_invalid_lines", "usage", "created_at", "in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at", "expires_at", "shards", "shard_count", "lenient_translation", "waiting_reason", "fail_fast", "late_line_count", "awaited_line_count", "results_revision", "awaited_until", "common_cause", "cost", "key_id", "webhook_url", "name", "priority", "parent_batch_id", "child_batch_ids", "paused_at", "paused_by", "canary", "max_failure_rate", "rescue_before", "rescued_line_count", "reuse_answers", "reused_line_count", "completion_estimate", "results_expire_at", "deleted_results")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FILE_ID_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_COUNTS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_PERCENT_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_STATE_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_WINDOW_FIELD_NUMBER: _ClassVar[int]
    SKIP_INVALID_LINES_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    IN_PROGRESS_AT_FIELD_NUMBER: _ClassVar[int]
    FINALIZING_AT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    FAILED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_AT_FIELD_NUMBER: _ClassVar[int]
    CANCELLING_AT_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    SHARD_COUNT_FIELD_NUMBER: _ClassVar[int]
    LENIENT_TRANSLATION_FIELD_NUMBER: _ClassVar[int]
    WAITING_REASON_FIELD_NUMBER: _ClassVar[int]
    FAIL_FAST_FIELD_NUMBER: _ClassVar[int]
    LATE_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    AWAITED_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    RESULTS_REVISION_FIELD_NUMBER: _ClassVar[int]
    AWAITED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    COMMON_CAUSE_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_URL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    PARENT_BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    CHILD_BATCH_IDS_FIELD_NUMBER: _ClassVar[int]
    PAUSED_AT_FIELD_NUMBER: _ClassVar[int]
    PAUSED_BY_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    MAX_FAILURE_RATE_FIELD_NUMBER: _ClassVar[int]
    RESCUE_BEFORE_FIELD_NUMBER: _ClassVar[int]
    RESCUED_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    REUSE_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    REUSED_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    RESULTS_EXPIRE_AT_FIELD_NUMBER: _ClassVar[int]
    DELETED_RESULTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: BatchState
    revision: int
    input_file_id: str
    endpoint: str
    request_counts: RequestCounts
    progress_percent: float
    display_state: str
    errors: _containers.RepeatedCompositeFieldContainer[BatchError]
    metadata: _containers.ScalarMap[str, str]
    completion_window: _duration_pb2.Duration
    skip_invalid_lines: bool
    usage: Usage
    created_at: _timestamp_pb2.Timestamp
    in_progress_at: _timestamp_pb2.Timestamp
    finalizing_at: _timestamp_pb2.Timestamp
    completed_at: _timestamp_pb2.Timestamp
    failed_at: _timestamp_pb2.Timestamp
    expired_at: _timestamp_pb2.Timestamp
    cancelling_at: _timestamp_pb2.Timestamp
    cancelled_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    shards: _containers.RepeatedCompositeFieldContainer[ShardStatus]
    shard_count: int
    lenient_translation: bool
    waiting_reason: str
    fail_fast: bool
    late_line_count: int
    awaited_line_count: int
    results_revision: int
    awaited_until: _timestamp_pb2.Timestamp
    common_cause: BatchError
    cost: BatchCost
    key_id: str
    webhook_url: str
    name: str
    priority: BatchPriority
    parent_batch_id: str
    child_batch_ids: _containers.RepeatedScalarFieldContainer[str]
    paused_at: _timestamp_pb2.Timestamp
    paused_by: str
    canary: Canary
    max_failure_rate: float
    rescue_before: _duration_pb2.Duration
    rescued_line_count: int
    reuse_answers: _duration_pb2.Duration
    reused_line_count: int
    completion_estimate: CompletionEstimate
    results_expire_at: _timestamp_pb2.Timestamp
    deleted_results: _containers.RepeatedScalarFieldContainer[ResultsKind]
    def __init__(self, id: _Optional[str] = ..., state: _Optional[_Union[BatchState, str]] = ..., revision: _Optional[int] = ..., input_file_id: _Optional[str] = ..., endpoint: _Optional[str] = ..., request_counts: _Optional[_Union[RequestCounts, _Mapping]] = ..., progress_percent: _Optional[float] = ..., display_state: _Optional[str] = ..., errors: _Optional[_Iterable[_Union[BatchError, _Mapping]]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., completion_window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., skip_invalid_lines: _Optional[bool] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., in_progress_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finalizing_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., completed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., failed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expired_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cancelling_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cancelled_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., shards: _Optional[_Iterable[_Union[ShardStatus, _Mapping]]] = ..., shard_count: _Optional[int] = ..., lenient_translation: _Optional[bool] = ..., waiting_reason: _Optional[str] = ..., fail_fast: _Optional[bool] = ..., late_line_count: _Optional[int] = ..., awaited_line_count: _Optional[int] = ..., results_revision: _Optional[int] = ..., awaited_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., common_cause: _Optional[_Union[BatchError, _Mapping]] = ..., cost: _Optional[_Union[BatchCost, _Mapping]] = ..., key_id: _Optional[str] = ..., webhook_url: _Optional[str] = ..., name: _Optional[str] = ..., priority: _Optional[_Union[BatchPriority, str]] = ..., parent_batch_id: _Optional[str] = ..., child_batch_ids: _Optional[_Iterable[str]] = ..., paused_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., paused_by: _Optional[str] = ..., canary: _Optional[_Union[Canary, _Mapping]] = ..., max_failure_rate: _Optional[float] = ..., rescue_before: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., rescued_line_count: _Optional[int] = ..., reuse_answers: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reused_line_count: _Optional[int] = ..., completion_estimate: _Optional[_Union[CompletionEstimate, _Mapping]] = ..., results_expire_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deleted_results: _Optional[_Iterable[_Union[ResultsKind, str]]] = ...) -> None: ...

class CreateBatchRequest(_message.Message):
    __slots__ = ("input_file_id", "request_id", "completion_window", "metadata", "skip_invalid_lines", "lenient_translation", "fail_fast", "key_id", "max_cost", "webhook_url", "name", "priority", "canary_lines", "canary_max_failure_rate", "max_failure_rate", "rescue_before", "reuse_answers", "results_retention", "keep_refused")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    INPUT_FILE_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_WINDOW_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    SKIP_INVALID_LINES_FIELD_NUMBER: _ClassVar[int]
    LENIENT_TRANSLATION_FIELD_NUMBER: _ClassVar[int]
    FAIL_FAST_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_URL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    CANARY_LINES_FIELD_NUMBER: _ClassVar[int]
    CANARY_MAX_FAILURE_RATE_FIELD_NUMBER: _ClassVar[int]
    MAX_FAILURE_RATE_FIELD_NUMBER: _ClassVar[int]
    RESCUE_BEFORE_FIELD_NUMBER: _ClassVar[int]
    REUSE_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    RESULTS_RETENTION_FIELD_NUMBER: _ClassVar[int]
    KEEP_REFUSED_FIELD_NUMBER: _ClassVar[int]
    input_file_id: str
    request_id: str
    completion_window: _duration_pb2.Duration
    metadata: _containers.ScalarMap[str, str]
    skip_invalid_lines: bool
    lenient_translation: bool
    fail_fast: bool
    key_id: str
    max_cost: _money_pb2.Money
    webhook_url: str
    name: str
    priority: BatchPriority
    canary_lines: int
    canary_max_failure_rate: float
    max_failure_rate: float
    rescue_before: _duration_pb2.Duration
    reuse_answers: _duration_pb2.Duration
    results_retention: _duration_pb2.Duration
    keep_refused: bool
    def __init__(self, input_file_id: _Optional[str] = ..., request_id: _Optional[str] = ..., completion_window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., skip_invalid_lines: _Optional[bool] = ..., lenient_translation: _Optional[bool] = ..., fail_fast: _Optional[bool] = ..., key_id: _Optional[str] = ..., max_cost: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., webhook_url: _Optional[str] = ..., name: _Optional[str] = ..., priority: _Optional[_Union[BatchPriority, str]] = ..., canary_lines: _Optional[int] = ..., canary_max_failure_rate: _Optional[float] = ..., max_failure_rate: _Optional[float] = ..., rescue_before: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reuse_answers: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., results_retention: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., keep_refused: _Optional[bool] = ...) -> None: ...

class EstimateBatchRequest(_message.Message):
    __slots__ = ("input_file_id", "skip_invalid_lines", "lenient_translation")
    INPUT_FILE_ID_FIELD_NUMBER: _ClassVar[int]
    SKIP_INVALID_LINES_FIELD_NUMBER: _ClassVar[int]
    LENIENT_TRANSLATION_FIELD_NUMBER: _ClassVar[int]
    input_file_id: str
    skip_invalid_lines: bool
    lenient_translation: bool
    def __init__(self, input_file_id: _Optional[str] = ..., skip_invalid_lines: _Optional[bool] = ..., lenient_translation: _Optional[bool] = ...) -> None: ...

class CostRange(_message.Message):
    __slots__ = ("prompt_tokens_expected", "prompt_tokens_at_most", "output_tokens_expected", "output_tokens_at_most", "expected", "at_most", "real_time_expected", "real_time_at_most")
    PROMPT_TOKENS_EXPECTED_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_AT_MOST_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_EXPECTED_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_AT_MOST_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    AT_MOST_FIELD_NUMBER: _ClassVar[int]
    REAL_TIME_EXPECTED_FIELD_NUMBER: _ClassVar[int]
    REAL_TIME_AT_MOST_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens_expected: int
    prompt_tokens_at_most: int
    output_tokens_expected: int
    output_tokens_at_most: int
    expected: _money_pb2.Money
    at_most: _money_pb2.Money
    real_time_expected: _money_pb2.Money
    real_time_at_most: _money_pb2.Money
    def __init__(self, prompt_tokens_expected: _Optional[int] = ..., prompt_tokens_at_most: _Optional[int] = ..., output_tokens_expected: _Optional[int] = ..., output_tokens_at_most: _Optional[int] = ..., expected: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., at_most: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., real_time_expected: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., real_time_at_most: _Optional[_Union[_money_pb2.Money, _Mapping]] = ...) -> None: ...

class ModelEstimate(_message.Message):
    __slots__ = ("provider", "model", "processing", "line_count", "range", "unpriced", "unlimited_line_count", "basis")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROCESSING_FIELD_NUMBER: _ClassVar[int]
    LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_FIELD_NUMBER: _ClassVar[int]
    UNLIMITED_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    BASIS_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    processing: _prices_pb2.Processing
    line_count: int
    range: CostRange
    unpriced: str
    unlimited_line_count: int
    basis: str
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ..., processing: _Optional[_Union[_prices_pb2.Processing, str]] = ..., line_count: _Optional[int] = ..., range: _Optional[_Union[CostRange, _Mapping]] = ..., unpriced: _Optional[str] = ..., unlimited_line_count: _Optional[int] = ..., basis: _Optional[str] = ...) -> None: ...

class BatchEstimate(_message.Message):
    __slots__ = ("input_file_id", "line_count", "total", "models")
    INPUT_FILE_ID_FIELD_NUMBER: _ClassVar[int]
    LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    input_file_id: str
    line_count: int
    total: CostRange
    models: _containers.RepeatedCompositeFieldContainer[ModelEstimate]
    def __init__(self, input_file_id: _Optional[str] = ..., line_count: _Optional[int] = ..., total: _Optional[_Union[CostRange, _Mapping]] = ..., models: _Optional[_Iterable[_Union[ModelEstimate, _Mapping]]] = ...) -> None: ...

class SubmitBatchRequest(_message.Message):
    __slots__ = ("spec", "chunk", "finish")
    class Spec(_message.Message):
        __slots__ = ("upload", "batch")
        UPLOAD_FIELD_NUMBER: _ClassVar[int]
        BATCH_FIELD_NUMBER: _ClassVar[int]
        upload: _files_pb2.UploadSpec
        batch: CreateBatchRequest
        def __init__(self, upload: _Optional[_Union[_files_pb2.UploadSpec, _Mapping]] = ..., batch: _Optional[_Union[CreateBatchRequest, _Mapping]] = ...) -> None: ...
    SPEC_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    spec: SubmitBatchRequest.Spec
    chunk: bytes
    finish: bool
    def __init__(self, spec: _Optional[_Union[SubmitBatchRequest.Spec, _Mapping]] = ..., chunk: _Optional[bytes] = ..., finish: _Optional[bool] = ...) -> None: ...

class GetBatchRequest(_message.Message):
    __slots__ = ("batch_id",)
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    def __init__(self, batch_id: _Optional[str] = ...) -> None: ...

class ListBatchesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "states", "filter", "oldest_first")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIRST_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    states: _containers.RepeatedScalarFieldContainer[BatchState]
    filter: str
    oldest_first: bool
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., states: _Optional[_Iterable[_Union[BatchState, str]]] = ..., filter: _Optional[str] = ..., oldest_first: _Optional[bool] = ...) -> None: ...

class ListBatchesResponse(_message.Message):
    __slots__ = ("batches", "next_page_token")
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    batches: _containers.RepeatedCompositeFieldContainer[Batch]
    next_page_token: str
    def __init__(self, batches: _Optional[_Iterable[_Union[Batch, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelBatchRequest(_message.Message):
    __slots__ = ("batch_id",)
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    def __init__(self, batch_id: _Optional[str] = ...) -> None: ...

class PauseBatchRequest(_message.Message):
    __slots__ = ("batch_id",)
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    def __init__(self, batch_id: _Optional[str] = ...) -> None: ...

class ResumeBatchRequest(_message.Message):
    __slots__ = ("batch_id",)
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    def __init__(self, batch_id: _Optional[str] = ...) -> None: ...

class RetryBatchRequest(_message.Message):
    __slots__ = ("batch_id", "request_id", "codes", "cause_ids", "completion_window", "max_cost", "name")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    CAUSE_IDS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_WINDOW_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    request_id: str
    codes: _containers.RepeatedScalarFieldContainer[str]
    cause_ids: _containers.RepeatedScalarFieldContainer[str]
    completion_window: _duration_pb2.Duration
    max_cost: _money_pb2.Money
    name: str
    def __init__(self, batch_id: _Optional[str] = ..., request_id: _Optional[str] = ..., codes: _Optional[_Iterable[str]] = ..., cause_ids: _Optional[_Iterable[str]] = ..., completion_window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_cost: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., name: _Optional[str] = ...) -> None: ...

class DeleteBatchRequest(_message.Message):
    __slots__ = ("batch_id",)
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    def __init__(self, batch_id: _Optional[str] = ...) -> None: ...

class DeleteBatchResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteResultsRequest(_message.Message):
    __slots__ = ("batch_id", "kind")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    kind: ResultsKind
    def __init__(self, batch_id: _Optional[str] = ..., kind: _Optional[_Union[ResultsKind, str]] = ...) -> None: ...
