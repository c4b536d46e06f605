"""What becomes of each block that is a command or a program: who runs it, or why nobody can.

A block that is in neither table, on a page that is not in PAGES, fails tests/unit/docsite.
"""

from __future__ import annotations

from collections.abc import Mapping

PAGES = (
    "README.md",
    "clients/python/README.md",
    "docs/dashboard.md",
    "docs/deployment.md",
    "docs/first-batch.md",
    "docs/keys.md",
    "docs/money.md",
    "docs/openai-files.md",
    "docs/operations.md",
    "docs/quickstart.md",
    "docs/sandbox.md",
    "docs/scaling.md",
    "docs/steering.md",
    "docs/webhooks.md",
)
"""Run block by block, in order, by tests/e2e/test_documentation.py, but for those below."""

_DEMO = "tests/e2e/test_main_job.py::test_the_demo"
_START = "tests/integration/supervisor/test_suite.py::"
_START += "test_from_nothing_to_healthy_over_a_crash_to_the_end"
_HTTP = "tests/e2e/test_http_examples.py::"
_HOOKS = "tests/integration/gateway/test_documented_webhooks.py::"

ELSEWHERE: Mapping[str, str] = {
    "README.md: make demo     # try it now: no keys, no": _DEMO,
    "README.md: export OPENAI_API_KEY=sk-...  ANTHROPIC_": _START,
    "README.md: import json": _HTTP + "test_the_program_of_the_readme",
    "docs/quickstart.md: make demo": _DEMO,
    "docs/quickstart.md: $ polybatch submit examples/chat-mixed.j": _DEMO,
    "docs/quickstart.md: export OPENAI_API_KEY=sk-...  ANTHROPIC_": _START,
    "docs/deployment.md: make env                          # writ": (
        "tests/integration/containers/compose_run.py::test_the_main_job_through_the_published_ports"
    ),
    "docs/deployment.md: export POLYBATCH_DATABASE_URL='postgresq": (
        "tests/e2e/test_stores.py::test_the_example_by_the_command_line"
    ),
    "docs/deployment.md: export POLYBATCH_TLS_CERT=cert.pem POLYB": (
        "tests/e2e/test_secured.py::test_the_main_job_under_mutual_tls"
    ),
    "docs/deployment.md: export POLYBATCH_GATEWAY=grpcs://batch.e": (
        "tests/e2e/test_secured.py::test_the_main_job_under_mutual_tls"
    ),
    "docs/deployment.md: make key ACCOUNT=name SCOPE=account MONT": (
        "tests/integration/gateway/test_keys.py::test_keys_from_the_command_line"
    ),
    "docs/http-api.md: # A file of requests: any mix of models,": _HTTP + "test_the_calls_by_hand",
    "docs/http-api.md: # The same in Anthropic's form.": _HTTP + "test_the_calls_by_hand",
    "docs/http-api.md: import os": _HTTP + "test_the_programs_of_the_sdks",
    "docs/keys.md: polybatch admin accounts create team --f": (
        "tests/integration/gateway/test_administration.py::test_the_documented_commands"
    ),
    "docs/keys.md: polybatch keys create ci --monthly 20 --": (
        "tests/integration/gateway/test_administration.py::test_the_documented_commands"
    ),
    "docs/operations.md: python -m services.gateway copy-ledger -": (
        "tests/integration/ledger/test_copying.py::test_every_row_arrives_as_it_was"
    ),
    "docs/sandbox.md: POLYBATCH_SANDBOX_BATCH_SECONDS=30 make": (
        "tests/integration/sandbox/test_sandbox_command.py::test_serves_until_terminated"
    ),
    "docs/steering.md: polybatch retry ID --watch": (
        "tests/e2e/test_retries.py::test_what_failed_is_followed_and_run_once_more"
    ),
    "docs/webhooks.md: # receiver.py, run with: uvicorn receive": (
        _HOOKS + "test_the_receiver_by_openai"
    ),
    "docs/webhooks.md: # receiver.py, run with: python receiver": (
        _HOOKS + "test_the_receiver_by_standardwebhooks"
    ),
    "docs/webhooks.md: POLYBATCH_WEBHOOK_ALLOW_PRIVATE=1 make u": _START,
    "docs/webhooks.md: from polybatch import Client": _HOOKS + "test_the_client",
    "clients/python/README.md: polybatch retry BATCH_ID --watch": (
        "tests/e2e/test_retries.py::test_what_failed_is_followed_and_run_once_more"
    ),
    'clients/python/README.md: eval "$(polybatch completion zsh)"': (
        "tests/integration/client/test_command_extra.py::test_completion_is_switched_on_by_a_script"
    ),
}
"""The test that runs what a block shows, where that needs more than a suite on the sandbox."""

NOT_RUN: Mapping[str, str] = {
    "README.md: make test         # minutes: over real p": "they are the tests themselves",
    "docs/performance.md: make bench-peers": ("takes minutes, and installs what is compared with"),
    "docs/testing.md: make test         # a few minutes on two": "they are the tests themselves",
    "docs/providers.md: vllm serve Qwen/Qwen3-8B --port 8000 --a": "needs vLLM and a GPU",
    "docs/providers.md: ollama pull llama3.2": "needs Ollama, and downloads a model",
    'docs/providers.md: @pytest.mark.parametrize("case", CASES,': "part of a plug-in's own test",
    "docs/providers.md: from core.providers import ProviderPlugi": "part of a plug-in",
    "clients/python/README.md: pipx install 'polybatch[cli]'   # the co": "needs a package index",
    "docs/versions.md: make dist                     # dist/: s": (
        "takes minutes; tests/integration/client/test_installed.py builds and installs the packages"
    ),
}
"""Why nobody can; what such blocks name is checked all the same."""

WHOLE_PAGES: Mapping[str, str] = {
    "docs/reference/cli.md": "run by tests/e2e/test_help_examples.py: the help shows them too",
    "docs/reference/python.md": "signatures: each is compiled",
    "clients/README.md": "generators of code in other languages, which need their toolchains",
    "clients/cpp/README.md": "run by the conformance run, which needs the toolchain",
    "clients/go/README.md": "run by the conformance run, which needs the toolchain",
    "clients/java/README.md": "run by the conformance run, which needs the toolchain",
    "clients/rust/README.md": "run by the conformance run, which needs the toolchain",
    "clients/typescript/README.md": "run by the conformance run, which needs the toolchain",
}
"""Pages none of whose blocks is run here."""
