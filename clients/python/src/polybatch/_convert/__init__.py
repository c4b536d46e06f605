"""`polybatch convert`: files of requests in any container, read and written in constant memory."""

from polybatch._convert.reading import EMPTY, Content, open_content
from polybatch._convert.records import Record, Refusal, refused_as_written
from polybatch._convert.tables import Template
from polybatch._convert.writing import open_output

__all__ = [
    "EMPTY",
    "Content",
    "Record",
    "Refusal",
    "Template",
    "open_content",
    "open_output",
    "refused_as_written",
]
