"""Nothing is collected without litellm: `make test` would import and make up much for skips."""

from importlib.util import find_spec

if find_spec("litellm") is None:
    collect_ignore_glob = ["test_*.py"]
