"""What is shown of text that may hold a secret."""

import pytest

from flows.sentences import sentence_of
from storage.errors import StorageError
from storage.text import without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://me:hunter2@host:4200/api.", "at http://***@host:4200/api."),
        ("postgresql+asyncpg://p:a/b@c@db/prefect is", "postgresql+asyncpg://***@db/prefect is"),
        ("'https://token@host/x' and \"ftp://u:p@h\"", "'https://***@host/x' and \"ftp://***@h\""),
        ("token hf_abcdefghijklmnopqrstuvwxyz", "token ***"),
        (
            "http://127.0.0.1:4200/api, me@example.org, hf_mirror",
            "http://127.0.0.1:4200/api, me@example.org, hf_mirror",
        ),
    ],
)
def test_passwords_in_addresses_and_tokens_are_not_shown(text, shown):
    assert without_secrets(text) == shown
    assert sentence_of(StorageError(text)) == shown
