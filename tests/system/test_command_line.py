"""The command line's own arguments and last words: one sentence, exit code 2, in any locale."""

import ast
import errno
import os
import re
import subprocess
import sys

import pytest

from flows import reading
from flows.cli import main
from flows.schedule import study_schedule
from flows.sentences import sentence_of
from flows.serve import deployments
from tests.paths import ROOT

TINY = str(ROOT / "configs" / "tiny.yaml")
ASCII = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
PACKAGES = (
    "concept_atlas",
    "flows",
    "explorer",
    "tasks",
    "storage",
    "diffusion",
    "sae",
    "vision",
    "concepts",
    "figures",
    "miniature",
)


@pytest.fixture
def said(capsys):
    """Runs a command that is refused, and gives the one line that it says."""

    def run(*arguments):
        try:
            code = main(list(arguments))
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        assert code == 2 and out == "" and err.startswith("concepts: ") and err.count("\n") == 1, err
        return err

    return run


ARGUMENTS = {
    (): "missing: COMMAND; see `concepts --help`",
    ("runn",): "no command 'runn'; did you mean 'run'?",
    ("verifi", "x"): "did you mean 'verify'?",
    ("xyzzy",): "no command 'xyzzy': choose from check, run, collect",
    ("run",): "missing: config, --root; see `concepts run --help`",
    ("run", TINY): "missing: --root",
    ("run", TINY, "--rot", "x"): "unknown argument '--rot'; did you mean '--root'?",
    ("run", TINY, "--root", "x", "--sett=seed=1"): "unknown argument '--sett'; did you mean '--set'?",
    ("run", TINY, "--roo", "x"): "did you mean '--root'?",
    ("run", TINY, "--root", "x", "--set"): "argument --set: expected one argument",
    ("run", TINY, "more", "--root", "x"): "unknown argument 'more'",
    ("query", "x", "select 1", "--format", "tabel"): "no --format 'tabel'; did you mean 'table'?",
    ("card", "x", "mid/0.00/cond", "three"): "invalid int value: 'three'",
    ("status",): "missing: dir",
}


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=" ".join)
def test_a_wrong_argument_is_one_sentence(said, arguments):
    assert ARGUMENTS[arguments] in said(*arguments)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("explore", "--port PORT of this machine; 0 takes any that is free (default: 8600)"),
        ("serve", "--cron CRON schedule of the whole study (default: 0 3 * * *)"),
        ("bench", "(default: runs/truth.parquet)"),
        ("run", "--set a.b=value override a setting"),
    ],
)
def test_help_tells_what_an_option_is_that_is_not_given(command, says, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0 and says in told
    assert not re.search(r"default: (None|False|\[\]|0\.?0?\)|==)", told)


def test_version_and_help_answer(capsys):
    for flag, says in (("--version", "concept-atlas "), ("--help", "COMMAND")):
        with pytest.raises(SystemExit) as end:
            main([flag])
        assert end.value.code == 0 and says in capsys.readouterr().out


CRONS = {
    "bad": "is no cron expression",
    "": "is no cron expression",
    "61 * * * *": "is no cron expression",
    "0 3 * *": "is no cron expression",
    "R R * * *": "is no cron expression",
    "0 3 30 2 *": "never comes",
}


@pytest.mark.parametrize("cron", CRONS)
def test_a_schedule_that_never_comes_is_refused(said, cron):
    assert CRONS[cron] in said("serve", TINY, "--root", "x", "--cron", cron)


def test_a_schedule_has_a_time_zone_that_exists(said):
    for zone in ("Mars/Base", "", "../../etc/passwd"):
        assert "is no time zone" in said("serve", TINY, "--root", "x", "--timezone", zone)
    schedule = study_schedule("0 3 * * *", "Europe/Berlin")
    (study, *_) = deployments(TINY, "root", schedule)
    assert [(s.schedule.cron, s.schedule.timezone) for s in study.schedules] == [("0 3 * * *", "Europe/Berlin")]


def refusal(number, name="/data/study/figures/x.png"):
    return OSError(number, os.strerror(number), name)


LIMITS = {
    "full": (refusal(errno.ENOSPC), "disk full while writing /data/study/figures/x.png: free space"),
    "full, no name": (OSError(errno.ENOSPC, "No space left on device"), "disk full while writing a file"),
    "quota": (refusal(errno.EDQUOT), "disk full"),
    "read-only": (refusal(errno.EROFS), "x.png cannot be used (Read-only file system): give it the right permissions"),
    "forbidden": (refusal(errno.EACCES), "cannot be used (Permission denied)"),
    "failing": (refusal(errno.EIO), "fails (input/output error)"),
    "files": (refusal(errno.EMFILE), "too many open files"),
    "memory": (MemoryError(), "out of memory: lower sampling.batch_size"),
    "torch's memory": (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 2 TB"), "out of memory"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_the_machines_limits_are_one_sentence(said, monkeypatch, name):
    error, says = LIMITS[name]

    def fail(options):
        raise error

    monkeypatch.setattr(reading, "status", fail)
    assert says in said("status", "anywhere")


def test_a_fault_of_the_program_is_not_dressed_up():
    assert sentence_of(RuntimeError("x")) is None and sentence_of(KeyError("x")) is None
    assert sentence_of(OSError(errno.ECONNRESET, "Connection reset by peer")) is None


def in_ascii(*arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, **ASCII, **variables},
        capture_output=True,
    )


def test_a_configuration_and_a_refusal_in_a_locale_without_umlauts(tmp_path):
    config = tmp_path / "Größe.yaml"
    config.write_text("name: Größe 図\nprompts: {größe: 3}\n", encoding="utf-8")
    done = in_ascii("run", str(config), "--root", str(tmp_path / "x"))
    assert done.returncode == 2 and "Größe.yaml: unknown key 'prompts.größe'".encode() in done.stderr, done.stderr
    assert done.stderr.count(b"\n") == 1
    printed = in_ascii("run", str(config), "--root", str(tmp_path / "x"), PYTHONIOENCODING="ascii")
    assert b"Gr\\xf6\\xdfe.yaml: unknown key 'prompts.gr\\xf6\\xdfe'" in printed.stderr


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    done = in_ascii(b"status", os.fsencode(tmp_path) + b"/Gr\xf6\xdfe")
    assert done.returncode == 2 and b"is not UTF-8: rename the file or folder" in done.stderr


def test_text_is_printed_in_a_locale_that_lacks_it(capfdbinary):
    code = "from flows.locales import print_in_any_encoding as p; p(); print('Gr\\xf6\\xdfe \\u56f3')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **ASCII}, check=True)
    assert capfdbinary.readouterr().out == b"Gr\\xf6\\xdfe \\u56f3\n"


@pytest.mark.parametrize("package", PACKAGES)
def test_text_files_are_read_and_written_in_utf8_whatever_the_locale(package):
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                named = {keyword.arg for keyword in node.keywords}
                positions = {"read_text": 1, "write_text": 2}.get(node.func.attr, 0)  # of encoding, from 1
                if positions and len(node.args) < positions and "encoding" not in named:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found
