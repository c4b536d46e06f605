import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FileState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FILE_STATE_UNSPECIFIED: _ClassVar[FileState]
    FILE_STATE_READY: _ClassVar[FileState]
    FILE_STATE_INVALID: _ClassVar[FileState]

class FileContent(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FILE_CONTENT_UNSPECIFIED: _ClassVar[FileContent]
    FILE_CONTENT_VALIDATION_REPORT: _ClassVar[FileContent]
FILE_STATE_UNSPECIFIED: FileState
FILE_STATE_READY: FileState
FILE_STATE_INVALID: FileState
FILE_CONTENT_UNSPECIFIED: FileContent
FILE_CONTENT_VALIDATION_REPORT: FileContent

class File(_message.Message):
    __slots__ = ("id", "filename", "state", "bytes", "sha256", "line_count", "invalid_line_count", "endpoint", "created_at", "models", "problem_count", "lenient_line_count", "expires_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    INVALID_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    LENIENT_LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    filename: str
    state: FileState
    bytes: int
    sha256: str
    line_count: int
    invalid_line_count: int
    endpoint: str
    created_at: _timestamp_pb2.Timestamp
    models: _containers.RepeatedCompositeFieldContainer[ModelCount]
    problem_count: int
    lenient_line_count: int
    expires_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., filename: _Optional[str] = ..., state: _Optional[_Union[FileState, str]] = ..., bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., line_count: _Optional[int] = ..., invalid_line_count: _Optional[int] = ..., endpoint: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., models: _Optional[_Iterable[_Union[ModelCount, _Mapping]]] = ..., problem_count: _Optional[int] = ..., lenient_line_count: _Optional[int] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ModelCount(_message.Message):
    __slots__ = ("provider", "model", "line_count")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    line_count: int
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ..., line_count: _Optional[int] = ...) -> None: ...

class LineProblem(_message.Message):
    __slots__ = ("line", "custom_id", "field", "reason", "message", "lenient")
    LINE_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_ID_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LENIENT_FIELD_NUMBER: _ClassVar[int]
    line: int
    custom_id: str
    field: str
    reason: str
    message: str
    lenient: bool
    def __init__(self, line: _Optional[int] = ..., custom_id: _Optional[str] = ..., field: _Optional[str] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., lenient: _Optional[bool] = ...) -> None: ...

class UploadSpec(_message.Message):
    __slots__ = ("filename", "upload_id", "write_offset", "default_provider", "default_model", "discard_unfinished", "part_of", "expected_bytes", "expected_md5", "expires_after")
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    WRITE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_PROVIDER_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_MODEL_FIELD_NUMBER: _ClassVar[int]
    DISCARD_UNFINISHED_FIELD_NUMBER: _ClassVar[int]
    PART_OF_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_BYTES_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_MD5_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    filename: str
    upload_id: str
    write_offset: int
    default_provider: str
    default_model: str
    discard_unfinished: bool
    part_of: str
    expected_bytes: int
    expected_md5: str
    expires_after: _duration_pb2.Duration
    def __init__(self, filename: _Optional[str] = ..., upload_id: _Optional[str] = ..., write_offset: _Optional[int] = ..., default_provider: _Optional[str] = ..., default_model: _Optional[str] = ..., discard_unfinished: _Optional[bool] = ..., part_of: _Optional[str] = ..., expected_bytes: _Optional[int] = ..., expected_md5: _Optional[str] = ..., expires_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class UploadFileRequest(_message.Message):
    __slots__ = ("spec", "chunk", "finish", "part", "expires_after")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    spec: UploadSpec
    chunk: bytes
    finish: bool
    part: str
    expires_after: _duration_pb2.Duration
    def __init__(self, spec: _Optional[_Union[UploadSpec, _Mapping]] = ..., chunk: _Optional[bytes] = ..., finish: _Optional[bool] = ..., part: _Optional[str] = ..., expires_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class UploadFileResponse(_message.Message):
    __slots__ = ("file", "problems")
    FILE_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    file: File
    problems: _containers.RepeatedCompositeFieldContainer[LineProblem]
    def __init__(self, file: _Optional[_Union[File, _Mapping]] = ..., problems: _Optional[_Iterable[_Union[LineProblem, _Mapping]]] = ...) -> None: ...

class BeginUploadRequest(_message.Message):
    __slots__ = ("upload_id",)
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    def __init__(self, upload_id: _Optional[str] = ...) -> None: ...

class DeleteUploadRequest(_message.Message):
    __slots__ = ("upload_id",)
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    def __init__(self, upload_id: _Optional[str] = ...) -> None: ...

class DeleteUploadResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetUploadStatusRequest(_message.Message):
    __slots__ = ("upload_id",)
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    def __init__(self, upload_id: _Optional[str] = ...) -> None: ...

class UploadStatus(_message.Message):
    __slots__ = ("upload_id", "committed_size", "complete", "file_id", "problems", "problem_count")
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_SIZE_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    committed_size: int
    complete: bool
    file_id: str
    problems: _containers.RepeatedCompositeFieldContainer[LineProblem]
    problem_count: int
    def __init__(self, upload_id: _Optional[str] = ..., committed_size: _Optional[int] = ..., complete: _Optional[bool] = ..., file_id: _Optional[str] = ..., problems: _Optional[_Iterable[_Union[LineProblem, _Mapping]]] = ..., problem_count: _Optional[int] = ...) -> None: ...

class DownloadFileRequest(_message.Message):
    __slots__ = ("file_id", "offset", "content")
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    file_id: str
    offset: int
    content: FileContent
    def __init__(self, file_id: _Optional[str] = ..., offset: _Optional[int] = ..., content: _Optional[_Union[FileContent, str]] = ...) -> None: ...

class DownloadFileResponse(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    def __init__(self, chunk: _Optional[bytes] = ...) -> None: ...

class GetFileRequest(_message.Message):
    __slots__ = ("file_id",)
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    file_id: str
    def __init__(self, file_id: _Optional[str] = ...) -> None: ...

class ListFilesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "oldest_first")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIRST_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    oldest_first: bool
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., oldest_first: _Optional[bool] = ...) -> None: ...

class ListFilesResponse(_message.Message):
    __slots__ = ("files", "next_page_token")
    FILES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[File]
    next_page_token: str
    def __init__(self, files: _Optional[_Iterable[_Union[File, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteFileRequest(_message.Message):
    __slots__ = ("file_id",)
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    file_id: str
    def __init__(self, file_id: _Optional[str] = ...) -> None: ...

class DeleteFileResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
