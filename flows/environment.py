"""What the machine and its user have set, looked at before anything is begun: one sentence for what cannot work.

Prefect reads a good many places (its home, a profile, ``.env`` and TOML files of the current folder, PREFECT_*
variables, proxies), and fails at its import or minutes later with an error that names none of them.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from storage.text import without_secrets
from study.errors import StudyError
from study.imports import import_kept

LOOPBACK = ("127.0.0.1", "localhost", "::1")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
ANSWER_SECONDS = 10.0
BUSY_SECONDS = 60.0  # for a server that says that it is too busy, as while SQLite is locked or it has just started
# Of clients of a server: doubling waits from two seconds, so that it may be away for four minutes. It answers 500 while
# its Redis is.
PATIENT = {"PREFECT_CLIENT_MAX_RETRIES": "7", "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500"}
TOO_BUSY = 503
CHECKOUT = Path(__file__).resolve().parents[1]


def prepare(with_api: bool = True) -> None:
    """Make the surroundings safe for a command that runs flows. Raises ``StudyError`` for what cannot work.

    ``with_api`` also asks the server that is configured, if one is.
    """
    check_threads()
    check_temporary_folder()
    keep_loopback_off_proxies()
    keep_current_folder_off_the_path()
    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)
    check_proxies()
    check_prefect_home(prefect_home())
    import_prefect()
    if with_api:
        from prefect.settings import PREFECT_API_URL

        if url := PREFECT_API_URL.value():
            check_api(url)


@contextlib.contextmanager
def variables_kept() -> Iterator[None]:
    """Leave the environment variables as they were before, whatever a command sets for itself and its processes."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def check_threads() -> None:
    """Numerical libraries ignore a thread count that they cannot read, each in its own way: refuse it instead."""
    for name in THREAD_VARIABLES:
        value = os.environ.get(name, "").strip()
        if value and not re.fullmatch(r"0*[1-9]\d*(,\d+)*", value):
            raise StudyError(f"{name} is {value!r}, which is no number of threads: unset it, or set it to 1 or more")


def check_temporary_folder() -> None:
    """See that temporary files can be written somewhere, which Python, Dask and torch take for granted."""
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise StudyError(
            "no temporary folder can be written (TMPDIR, /tmp and /var/tmp were tried): free space there, or set "
            "TMPDIR to a folder that can"
        ) from error


def keep_loopback_off_proxies() -> None:
    """Add this machine to NO_PROXY: a proxy cannot reach a server that listens on loopback."""
    for name in ("NO_PROXY", "no_proxy"):
        named = [host.strip() for host in os.environ.get(name, "").split(",") if host.strip()]
        if "*" not in named:
            os.environ[name] = ",".join([*named, *(host for host in LOOPBACK if host not in named)])


def keep_current_folder_off_the_path() -> None:
    """Have the processes that we start import installed code, never a ``tasks.py`` that lies in the current folder."""
    os.environ["PYTHONSAFEPATH"] = "1"
    if (CHECKOUT / "pyproject.toml").is_file():  # not installed, perhaps: then this is where our rooms are
        paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        if str(CHECKOUT) not in paths:
            os.environ["PYTHONPATH"] = os.pathsep.join([*paths, str(CHECKOUT)])


def check_proxies() -> None:
    """HTTP clients cannot be made while a proxy's address is malformed, even where it would not be used."""
    import httpx

    try:
        httpx.Client().close()
    except Exception as error:  # ValueError, ImportError, OSError, httpx.InvalidURL
        names = [n for n in os.environ if n.lower() in ("http_proxy", "https_proxy", "all_proxy", "ssl_cert_file")]
        raise StudyError(
            f"an HTTP client cannot be made with {', '.join(sorted(names)) or 'the settings of this machine'} as set "
            f"({_line(error)}): correct or unset what is wrong"
        ) from error


def prefect_home() -> Path:
    """Where Prefect keeps its settings and its database. Raises ``StudyError`` where there is no home folder."""
    named = os.environ.get("PREFECT_HOME")
    try:
        return Path(named).expanduser() if named else Path.home() / ".prefect"
    except RuntimeError as error:
        raise StudyError(
            "HOME is not set and this user has no home folder: set PREFECT_HOME to a folder that can be written"
        ) from error


def check_prefect_home(home: Path) -> None:
    """See that Prefect's folder is there, or can be made, and can be written."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise StudyError(
            f"Prefect's folder {home} cannot be written ({error.strerror or error}): set PREFECT_HOME to another"
        ) from error


def import_prefect() -> None:
    """Import Prefect, which reads all of its settings. Raises ``StudyError`` naming the file or variable at fault."""
    said = io.StringIO()  # Prefect prints a part of the error that it is about to raise
    try:
        with contextlib.redirect_stderr(said):
            import_kept("prefect.settings")
            import prefect.settings

            prefect.settings.get_current_settings()
    except Exception as error:
        raise StudyError(_settings_fault(error)) from error
    sys.stderr.write(said.getvalue())
    check_prefect_home(prefect.settings.get_current_settings().home)


def _settings_fault(error: Exception) -> str:
    for path in _settings_files():
        try:
            text = path.read_text("utf-8")
            if path.suffix == ".toml":
                tomllib.loads(text)
        except UnicodeDecodeError:
            return f"{path} is not UTF-8, and Prefect reads it: save it as UTF-8, or run in another folder"
        except (OSError, ValueError) as fault:
            return f"{path} cannot be read ({_line(fault)}), and Prefect's settings are there: correct or move it"
    variables = _variables_at_fault(error)
    named = f"{variables} cannot be taken" if variables else "Prefect's settings cannot be taken"
    return f"{named} ({_line(error)}): correct or unset it, in the environment, .env or Prefect's profile"


def _settings_files() -> list[Path]:
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or prefect_home() / "profiles.toml").expanduser()
    here = [Path.cwd() / name for name in (".env", "prefect.toml", "pyproject.toml")]
    return [path for path in (*here, profiles) if path.is_file()]


def _variables_at_fault(error: Exception) -> str:
    """The variables, or else the settings, that a validation complains of; of other errors, nothing."""
    complaints = getattr(error, "errors", None)
    if not callable(complaints):
        return ""
    names: list[str] = []
    for complaint in complaints():
        field = "_".join(str(part) for part in complaint["loc"]).upper()
        ours = [name for name in os.environ if name.startswith("PREFECT_") and name.upper().endswith(field)]
        names += ours if field and ours else [f"Prefect's setting {field}"]
    return ", ".join(dict.fromkeys(names))


def check_api(url: str) -> None:
    """Raise ``StudyError`` unless a Prefect server answers at ``url`` within seconds, and takes our password if any.

    One that answers that it is too busy (503) is asked again, for a minute.
    """
    _refuse_password_in(url)
    try:
        _ask_version()
    except Exception as error:  # of httpx, of the JSON parser, of the TLS library
        if (code := _refused_with(error)) is not None:
            raise StudyError(_password_fault(url, code)) from error
        raise StudyError(
            f"PREFECT_API_URL is {url!r}, and no Prefect server answers us there ({_api_fault(error)}): start it with "
            "`concepts server`, correct the address, or unset the variable"
        ) from error


def _ask_version() -> None:
    """Raise what a client of the configured server raises, or ``ValueError`` for an answer that is not a server's."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    end = time.monotonic() + BUSY_SECONDS
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(httpx_settings={"timeout": ANSWER_SECONDS}, sync_client=True) as client,
    ):
        while True:
            try:
                return _refuse_no_version(str(client.api_version()))
            except Exception as error:
                if _answer_of(error) != TOO_BUSY or time.monotonic() > end:
                    raise
            time.sleep(0.5)


def _refuse_password_in(url: str) -> None:
    """Prefect writes its server's address into logs and its UI's links. Raises ``StudyError``, without the password."""
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise StudyError(
            f"PREFECT_API_URL holds a password ({without_secrets(url)}), which Prefect's logs would show: leave the "
            "address alone in it, and set PREFECT_API_AUTH_STRING=user:password"
        )


def _refused_with(error: Exception) -> int | None:
    """The answer's code where a server, or a proxy before it, wants to know who asks; of other errors, None."""
    code = _answer_of(error)
    return code if code in (401, 403) else None


def _answer_of(error: BaseException) -> int | None:
    """The code that a server answered with; None of an error that is no answer."""
    import httpx

    return error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None


def _password_fault(url: str, code: int) -> str:
    from prefect.settings import PREFECT_API_AUTH_STRING

    if PREFECT_API_AUTH_STRING.value():
        return (
            f"the Prefect server {url} does not take the password in PREFECT_API_AUTH_STRING ({code}): set it to what "
            "the server's PREFECT_SERVER_API_AUTH_STRING is"
        )
    return (
        f"the Prefect server {url} wants a password ({code}): set PREFECT_API_AUTH_STRING to what the server's "
        "PREFECT_SERVER_API_AUTH_STRING is (of Prefect Cloud, set PREFECT_API_KEY)"
    )


def _refuse_no_version(text: str) -> None:
    """Raise ``ValueError`` for an answer that is not a Prefect server's."""
    if not re.match(r"\d+\.\d+", text):
        raise ValueError(f"{text[:40]!r} is no version")


def _api_fault(error: Exception) -> str:
    import httpx

    if isinstance(error, httpx.TimeoutException):
        return f"nothing within {ANSWER_SECONDS:.0f} s"
    if isinstance(error, httpx.HTTPStatusError):
        return f"the answer was {error.response.status_code}: does the address end with /api?"
    if isinstance(error, FileNotFoundError):
        return "PREFECT_API_SSL_CERT_FILE names a file that is not there"
    if isinstance(error, ValueError):
        return "the answer was not a Prefect API's: does the address end with /api?"
    return _line(error)


def _line(error: Any) -> str:
    """An error's words on one line, short; a validation's quotation of what it was given may be a password."""
    words = " ".join(re.sub(r"input_value=.*?, (?=input_type)", "", str(error)).split())
    return without_secrets(words)[:200] or type(error).__name__
