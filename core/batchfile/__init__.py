"""The JSONL line format: scan, check, index, report; and the results' format."""

from core.batchfile.answers import answer_head, answer_line, answer_tail, error_json
from core.batchfile.checker import SHOWN_PROBLEMS, CheckedFile, FileChecker
from core.batchfile.diagnosis import Rules
from core.batchfile.duplicates import Duplicates, duplicate_problems
from core.batchfile.index import (
    INDEX,
    INVALID,
    MAX_GROUPS,
    NO_GROUP,
    Group,
    IndexRecord,
    Tally,
    iter_index,
    mark_invalid,
    stream_records,
)
from core.batchfile.problems import Problem, encode_report, merge_problems, read_report
from core.batchfile.reading import read_lines
from core.batchfile.results import RESULT, ResultFile, ResultLine, ResultTotals, ResultWriter
from core.batchfile.scanner import LineScanner, Scanned, Summary, TooManyLines
from core.batchfile.shapes import (
    CHAT_COMPLETIONS,
    EMBEDDINGS,
    ENDPOINTS,
    Request,
    custom_id_of,
    decode_request,
    model_of,
)

__all__ = [
    "CHAT_COMPLETIONS",
    "EMBEDDINGS",
    "ENDPOINTS",
    "INDEX",
    "INVALID",
    "MAX_GROUPS",
    "NO_GROUP",
    "RESULT",
    "SHOWN_PROBLEMS",
    "CheckedFile",
    "Duplicates",
    "FileChecker",
    "Group",
    "IndexRecord",
    "LineScanner",
    "Problem",
    "Request",
    "ResultFile",
    "ResultLine",
    "ResultTotals",
    "ResultWriter",
    "Rules",
    "Scanned",
    "Summary",
    "Tally",
    "TooManyLines",
    "answer_head",
    "answer_line",
    "answer_tail",
    "custom_id_of",
    "decode_request",
    "duplicate_problems",
    "encode_report",
    "error_json",
    "iter_index",
    "mark_invalid",
    "merge_problems",
    "model_of",
    "read_lines",
    "read_report",
    "stream_records",
]
