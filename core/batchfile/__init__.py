"""The JSONL line format: scan, check, index, report; and the results' format."""

from core.batchfile.asking import CACHES, OPEN, TIER, TOOLS, US, Asked, asked_of
from core.batchfile.bodies import MAX_MODEL
from core.batchfile.checker import SHOWN_PROBLEMS, CheckedFile, FileChecker
from core.batchfile.equal_requests import (
    EQUAL,
    DigestReader,
    Digests,
    DigestWriter,
    Pairs,
    context_of,
    request_digest,
)
from core.batchfile.failures import Failure, read_failure
from core.batchfile.fast_path import Plain
from core.batchfile.index import (
    INDEX,
    INDEX_SEGMENT_BYTES,
    INVALID,
    LENIENT,
    NO_GROUP,
    Group,
    IndexRecord,
    MediaReader,
    MediaWeight,
    iter_index,
    stream_records,
)
from core.batchfile.line_reader import (
    Listed,
    list_beyond,
    listed_lines,
    read_lines,
    read_listed,
    read_records,
)
from core.batchfile.problems import Problem, read_report
from core.batchfile.problems_so_far import Found, problems_so_far
from core.batchfile.result_lines import (
    LineMaker,
    add_cost,
    answer_line,
    answer_tail,
    cost_of,
    error_json,
    reused_tail,
)
from core.batchfile.results import (
    RESULT,
    Entry,
    LineOutcome,
    ResultFile,
    ResultLine,
    ResultTotals,
    ResultWriter,
)
from core.batchfile.rules import Check, Finding, Media, ModelCheck, Rules
from core.batchfile.scanned import Scanned, Summary
from core.batchfile.scanner import LineScanner, TooManyLines
from core.batchfile.schema import (
    Request,
    custom_id_of,
    decode_request,
    valid_body,
    valid_custom_id,
)
from core.batchfile.settled import AT_END, FROM_START, SettledBetween, SettledWriter
from core.batchfile.totals import (
    LINE_OVERHEAD,
    LineSum,
    MediaTokens,
    Totals,
    decode_totals,
    encode_totals,
)
