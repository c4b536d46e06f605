"""What is secret never passes the log, whoever wrote the line."""

from __future__ import annotations

import pytest

from core.serving.redaction import REMOVED, Redactor, secrets_of

SECRET = 'wJalr"XUtn\\FEMI'


def test_secrets_are_found_by_the_names_of_their_variables() -> None:
    found = set(
        secrets_of(
            {
                "OPENAI_API_KEY": "sk-openai",
                "AWS_SECRET_ACCESS_KEY": "aws-secret",
                "AWS_SESSION_TOKEN": "aws-token",
                "PGPASSWORD": "pg-password",
                "POLYBATCH_DATABASE_URL": "postgresql+asyncpg://u:p%40ss@db/x",
                "POLYBATCH_NATS_URL": "nats://u:one@a:4222,nats://u:two@b:4222",
                "POLYBATCH_TLS_KEY": "/etc/key.pem",
                "POLYBATCH_ENQUEUED_TOKEN_LIMITS": "openai/*=900000",
                "POLYBATCH_KEY_RECHECK": "2",
                "HOME": "/home/me",
                "KEYBOARD": "de",
                "BROKEN_URL": "http://[",
            }
        )
    )
    assert found >= {"sk-openai", "aws-secret", "aws-token", "pg-password"}
    assert found >= {"p%40ss", "p@ss", "one", "two"}
    assert not found & {"/etc/key.pem", "openai/*=900000", "/home/me", "de"}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"refused: {SECRET}", f"refused: {REMOVED}"),
        ('{"e": "wJalr\\"XUtn\\\\FEMI"}', f'{{"e": "{REMOVED}"}}'),
        (f"{SECRET!r} was sent", f"'{REMOVED}' was sent"),
        ("at nats://user:pass@host:4222", f"at nats://{REMOVED}@host:4222"),
        ("authorization: Bearer abc.def", f"authorization: Bearer {REMOVED}"),
        (f"key pb_{'a' * 43} unknown", f"key {REMOVED} unknown"),
        (f"signed with whsec_{'a+/' * 14}a=", f"signed with {REMOVED}"),
        ("the hint whsec_...aB3d stays", "the hint whsec_...aB3d stays"),
        ("short ones stay: tiny", "short ones stay: tiny"),
        ("a line of pb_test and http://host:80/path", "a line of pb_test and http://host:80/path"),
    ],
)
def test_they_are_replaced_wherever_they_stand(text: str, left: str) -> None:
    assert Redactor([SECRET, "tiny"])(text) == left


def test_a_secret_that_holds_another_goes_whole() -> None:
    assert Redactor(["12345678", "12345678-and-more"])("12345678-and-more") == REMOVED
