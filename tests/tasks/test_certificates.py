"""What Prefect's clients trust is read once a process, and again when the file has changed."""

import os
import shutil
import ssl

import certifi
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_API_TLS_INSECURE_SKIP_VERIFY,
    PREFECT_API_URL,
    temporary_settings,
)

from tasks.certificates import read_certificates_once


@pytest.fixture
def made(monkeypatch):
    """Every context that is made: the file that it trusts, and what it became."""
    contexts = []
    real = ssl.create_default_context

    def create(*given, **named):
        contexts.append((named.get("cafile"), real(*given, **named)))
        return contexts[-1][1]

    monkeypatch.setattr(ssl, "create_default_context", create)
    read_certificates_once()
    return contexts


def of_file(made, path):
    return [context for cafile, context in made if cafile == str(path)]


def test_clients_share_a_context_until_its_file_changes(made, tmp_path):
    path = shutil.copy(certifi.where(), tmp_path / "trusted.pem")
    with temporary_settings({PREFECT_API_URL: "https://127.0.0.1:1/api", PREFECT_API_SSL_CERT_FILE: str(path)}):
        for sync in (True, False, True):
            get_client(sync_client=sync)
        assert len(of_file(made, path)) == 1
        assert of_file(made, path)[0].verify_mode == ssl.CERT_REQUIRED
        os.utime(path, ns=(1, 1))
        get_client(sync_client=True)
    assert len(of_file(made, path)) == 2


def test_a_client_that_trusts_anybody_has_a_context_of_its_own(made, tmp_path):
    path = shutil.copy(certifi.where(), tmp_path / "trusted.pem")
    with temporary_settings({PREFECT_API_URL: "https://127.0.0.1:1/api", PREFECT_API_SSL_CERT_FILE: str(path)}):
        get_client(sync_client=True)
        with temporary_settings({PREFECT_API_TLS_INSECURE_SKIP_VERIFY: True}):
            get_client(sync_client=True)
            get_client(sync_client=True)
    modes = [context.verify_mode for cafile, context in made if cafile in (None, str(path))]
    assert modes.count(ssl.CERT_NONE) == 2 and modes.count(ssl.CERT_REQUIRED) == 1


def test_a_file_that_is_not_there_is_refused_as_before(made, tmp_path):
    given = {PREFECT_API_URL: "https://127.0.0.1:1/api", PREFECT_API_SSL_CERT_FILE: str(tmp_path / "none.pem")}
    with temporary_settings(given), pytest.raises(FileNotFoundError):
        get_client(sync_client=True)
