from polybatch.v1 import files_pb2 as _files_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LineForm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LINE_FORM_UNSPECIFIED: _ClassVar[LineForm]
    LINE_FORM_OPENAI: _ClassVar[LineForm]
    LINE_FORM_ANTHROPIC: _ClassVar[LineForm]
    LINE_FORM_GEMINI: _ClassVar[LineForm]
LINE_FORM_UNSPECIFIED: LineForm
LINE_FORM_OPENAI: LineForm
LINE_FORM_ANTHROPIC: LineForm
LINE_FORM_GEMINI: LineForm

class ConversionSpec(_message.Message):
    __slots__ = ("to", "model", "provider", "lenient", "first_line")
    TO_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    LENIENT_FIELD_NUMBER: _ClassVar[int]
    FIRST_LINE_FIELD_NUMBER: _ClassVar[int]
    to: LineForm
    model: str
    provider: str
    lenient: bool
    first_line: int
    def __init__(self, to: _Optional[_Union[LineForm, str]] = ..., model: _Optional[str] = ..., provider: _Optional[str] = ..., lenient: _Optional[bool] = ..., first_line: _Optional[int] = ...) -> None: ...

class ConvertLinesRequest(_message.Message):
    __slots__ = ("spec", "chunk", "finish")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    spec: ConversionSpec
    chunk: bytes
    finish: bool
    def __init__(self, spec: _Optional[_Union[ConversionSpec, _Mapping]] = ..., chunk: _Optional[bytes] = ..., finish: _Optional[bool] = ...) -> None: ...

class ConvertLinesResponse(_message.Message):
    __slots__ = ("chunk", "problem")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    problem: _files_pb2.LineProblem
    def __init__(self, chunk: _Optional[bytes] = ..., problem: _Optional[_Union[_files_pb2.LineProblem, _Mapping]] = ...) -> None: ...
