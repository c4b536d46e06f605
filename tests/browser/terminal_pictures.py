"""Second half of `make screenshots`: what `polybatch submit` shows on a terminal, as SVG.

It is the command itself on a pseudo-terminal, in front of a suite on the sandbox whose batches
take a while. The picture is of one moment: half of the lines are answered.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests.support.browser.files import good_file
from tests.support.client.screen import Screen
from tests.support.e2e.suite import ROOT, Suite, running_suite

PICTURES = ROOT / "docs/images"
COLUMNS = 92
LINES = 240
COMMAND = "polybatch submit tickets.jsonl -o results.jsonl"
LIGHT = TerminalTheme(
    (252, 252, 250),
    (32, 35, 38),
    [
        *((32, 35, 38), (176, 42, 32), (30, 122, 60), (150, 98, 0)),
        *((26, 92, 158), (136, 54, 130), (8, 104, 116), (96, 102, 108)),
    ],
)
DARK = TerminalTheme(
    (20, 23, 26),
    (222, 226, 230),
    [
        *((70, 76, 82), (240, 113, 103), (102, 194, 128), (226, 178, 85)),
        *((108, 172, 240), (208, 140, 204), (92, 190, 204), (222, 226, 230)),
    ],
)
# The font is that of whoever looks at it: a picture fetches nothing.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def screen_of(suite: Suite, folder: Path) -> list[str]:
    """The lines that stand on the terminal in the middle of it, with their colours."""
    (folder / "tickets.jsonl").write_bytes(good_file(LINES, {}))
    suite.reset_sandbox(lines_per_second=LINES / 8, validation_seconds=0.5)
    screen = Screen(COLUMNS)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("POLYBATCH_")
    } | {
        "POLYBATCH_GATEWAY": suite.ready["gateway"],
        "POLYBATCH_COLLECTOR": suite.ready["collector"],
        "POLYBATCH_DATA_DIR": str(suite.data_dir),
        "TERM": "xterm-256color",
    }
    with subprocess.Popen(
        [sys.executable, "-m", *COMMAND.split()],
        cwd=folder,
        env=environment,
        stderr=screen.slave,
        stdout=screen.slave,
    ) as command:
        screen.wait_for_match(r"5\d %")
        shown = screen.lines(styled=True)
        assert command.wait(100) == 0
    screen.finish()
    return shown


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running_suite(folder / "suite") as suite:
            lines = screen_of(suite, folder)
    for suffix, theme in (("", LIGHT), ("-dark", DARK)):
        console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
        console.print(Text(f"$ {COMMAND}"))
        for line in lines:
            console.print(Text.from_ansi(line))
        path = PICTURES / f"submit{suffix}.svg"
        console.save_svg(
            str(path), title="polybatch", theme=theme, code_format=FORMAT, unique_id="submit"
        )
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
