"""The same work through what a user would pick instead: `make bench-peers`.

Each peer runs in an environment of its own, against the same sandbox. None is a dependency.
"""
