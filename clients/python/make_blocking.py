"""Writes the blocking client: the asyncio client without its awaits. `make generate` runs it.

Each method is written once, in src/polybatch/async_*.py; what is made of these files is committed
beside them, as the protobuf code is. With a folder as its argument, it writes there.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent / "src/polybatch"

_WORDS = (
    (r"AsyncGenerator", "Iterator"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\basync_(?=[a-z]+ import)", ""),
    (r"import AioTransport", "import BlockingTransport, iterate, run"),
    (r"\bAioTransport", "BlockingTransport"),
    (r"__a(enter|exit)__", r"__\1__"),
    (r"  # noqa: ASYNC109 .*", ""),
    (r"The asyncio client: .*?\.(?=\"\"\")", "The blocking client."),
    (r"the asyncio client", "the blocking client"),
    (
        r"Client of polybatch for one event loop",
        "Blocking client of polybatch; may be shared by threads",
    ),
    (r"`async with`", "`with`"),
    (r"iterable,(\s+)asynchronous or not, of", r"iterable\1of"),
)


def blocking(source: str) -> str:
    """The blocking form of a file: what is awaited is run, what is yielded is iterated."""
    # Columns of the syntax tree are bytes.
    assert source.isascii()
    edits: list[tuple[int, int, str]] = []
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def span(node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            starts[node.lineno - 1] + node.col_offset,
            starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def wrap(outer: ast.expr, name: str, inner: ast.expr) -> None:
        start, end = span(outer)
        edits.append((start, span(inner)[0], f"{name}("))
        edits.append((end, end, ")"))

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Await):
            called = node.value.func if isinstance(node.value, ast.Call) else None
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                # A method of its own blocks already.
                edits.append((span(node)[0], span(node.value)[0], ""))
            else:
                wrap(node, "run", node.value)
        elif isinstance(node, ast.AsyncFunctionDef):
            start, _ = span(node)
            edits.append((start, start + len("async "), ""))
        elif isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Subscript):
            given = node.returns.slice
            if isinstance(given, ast.Tuple) and ast.unparse(node.returns.value) == "AsyncGenerator":
                [item, nothing] = given.elts
                edits.append((span(item)[1], span(nothing)[1], ""))
                for each in ast.walk(node):
                    if isinstance(each, ast.Return):
                        assert each.value is not None
                        wrap(each.value, "iterate", each.value)
    for start, end, text in sorted(edits, reverse=True):
        source = source[:start] + text + source[end:]
    if "import AioTransport" not in source:
        # Where it goes is for ruff to say.
        first = "from __future__ import annotations\n"
        source = source.replace(first, f"{first}\nfrom polybatch._transport import iterate, run\n")
    for pattern, text in _WORDS:
        source = re.sub(pattern, text, source)
    return source


def _ruff(source: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, f"--stdin-filename={PACKAGE / 'made.py'}", "-"],
        input=source,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def main(folder: Path = PACKAGE) -> None:
    """Write the blocking form of every file of the asyncio client."""
    for path in sorted(PACKAGE.glob("async_*.py")):
        made = _ruff(blocking(path.read_text()), "check", "--select=I", "--fix")
        notice = f"# Made of {path.name} by `make generate`.\n\n"
        (folder / path.name.removeprefix("async_")).write_text(_ruff(notice + made, "format"))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
