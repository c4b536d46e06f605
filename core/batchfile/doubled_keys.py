"""In which lines of a file keys that stand twice in one object are looked for.

The fast decoder does not see them, looking takes as long as all the rest, and a file that has them
mostly has them everywhere: so in many lines from the start, in one of so many after that, and in
every line that is diagnosed.
"""

_FIRST = 1000
_ONE_OF = 64


def is_sampled(line: int) -> bool:
    """Whether they are looked for in this line, whatever its path."""
    return line <= _FIRST or line % _ONE_OF == 0


def next_sampled(line: int) -> int:
    """The first such line behind this one."""
    return line + 1 if line < _FIRST else (line // _ONE_OF + 1) * _ONE_OF
