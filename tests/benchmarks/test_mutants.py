"""The mutants of small modules whose tests are known to kill all but one; what is explained, and what no longer is."""

import ast
import subprocess
import sys
import tomllib
from collections import Counter

import pytest

from benchmarks.mutant_changes import mutants_of
from benchmarks.mutants import LISTING, Listing, entry, judged, report
from tests.paths import ROOT

SUMS = '''
"""A module."""


def last(values):
    at = 0
    while at < len(values) - 1:
        at += 1
    return values[at]


def above(values, least):
    return [2 * value for value in values if value >= least]
'''
TESTS = """
from sums import above, last


def test_last():
    assert last([4, 5, 6, 7]) == 7


def test_above():
    assert above([1, 2, 3], 2) == [4, 6]
"""
SURVIVOR = "['last', 'at = 0', '0 to 1', '{}'],"  # of a list of one value, which no test has


def changes(source: str) -> Counter[str]:
    return Counter(mutant.change for mutant in mutants_of(source, ast.parse(source)))


def mutated(source: str) -> list[str]:
    """The source of every mutant."""
    found = []
    for number in range(len(mutants_of(source, ast.parse(source)))):
        tree = ast.parse(source)
        mutants_of(source, tree)[number].apply()
        found.append(ast.unparse(tree))
    return found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b <= c", ["a <= b <= c", "a < b < c"]),
        ("a == b != c", ["a != b != c", "a == b == c"]),
        ("a is b", ["a is not b"]),
        ("a + b - c", ["a + b + c", "a - b - c"]),
        ("a * b / c // d", ["a * b / c * d", "a * b * c // d", "a / b / c // d"]),
        ("a and b or c", ["(a and b) and c", "(a or b) or c"]),
        ("a & ~b", ["a | ~b", "a & b"]),
        ("x += y", ["x -= y"]),
        ("not a", ["a"]),
        ("-a", ["a"]),
        ("x[0] ^ x[7]", ["x[1] ^ x[7]", "x[0] ^ x[8]", "x[0] ^ x[-7]", "x[0] & x[7]"]),
        ("x[1], x[-1]", ["x[2], x[-1]", "x[0], x[-1]", "x[1], x[0]", "x[1], x[1]"]),
        ("x[::-1]", ["x[::0]", "x[::1]"]),
        ("0.5 + 1.0", ["0.5 - 1.0", "1.5 + 1.0", "-0.5 + 1.0", "0.5 + 2.0", "0.5 + 0.0"]),
        ("min(a, key=b)", ["max(a, key=b)"]),
        (
            "np.maximum.accumulate(x.argmin())",
            ["np.minimum.accumulate(x.argmin())", "np.maximum.accumulate(x.argmax())"],
        ),
        ("x.any(axis=1)", ["x.all(axis=1)", "x.any(axis=2)", "x.any(axis=0)"]),
        ("np.any(x)", ["np.all(x)"]),
        ("np.zeros(n)", ["np.ones(n)"]),
        ("np.zeros(0, bool)", ["np.zeros(1, bool)"]),
        ("np.sum(x, keepdims=True)", ["np.sum(x, keepdims=False)"]),
        ("sorted(x, key=lambda v: (-v, v))", ["sorted(x, key=lambda v: (v, v))"]),
        ("np.searchsorted(a, v, side='left')", ["np.searchsorted(a, v, side='right')"]),
        (
            "def f(x: int | A = 3) -> int: pass",
            ["def f(x: int | A = 4) -> int: pass", "def f(x: int | A = -3) -> int: pass"],
        ),
    ],
)
def test_each_operator_number_and_opposite_is_changed_by_itself(source, expected):
    assert sorted(mutated(source)) == sorted(ast.unparse(ast.parse(text)) for text in expected)


@pytest.mark.parametrize(
    "source",
    [
        '"""One of 3."""',
        "__all__ = ['a'] + ['b']",
        "raise ValueError(f'{a + 1}')",
        "text = f'{a:.2f}' + 'b'",
        "log.info('%d', a + 1)",
        "warnings.warn('a', stacklevel=2)",
        "x: int | None",
        "isinstance(a, int | float)",
        "@dataclass(frozen=True)\nclass A:\n    pass",
        "if TYPE_CHECKING:\n    a = 1",
        "zip(a, b, strict=True)",
        "x.astype(float, copy=False)",
        "assert a, 'of ' + str(1)",
    ],
)
def test_what_computes_nothing_is_left_alone(source):
    assert not changes(source)


def test_a_mutant_is_known_by_its_function_its_line_and_the_change_wherever_it_stands():
    source = (
        "def f(a):\n    return (a - 1) + (\n        a - 1\n    ) - a\n\n\nclass C:\n    def g(self):\n        return 5"
    )
    found = mutants_of(source, ast.parse(source))
    keys = [mutant.key for mutant in found]
    assert len(set(keys)) == len(keys) == 10
    first, again = [mutant.key for mutant in found if mutant.change.startswith("- to +") and mutant.number in (2, 4)]
    assert (first, again) == (("f", "return (a - 1) + (", "- to +"), ("f", ") - a", "- to +"))
    assert ("C.g", "return 5", "5 to -5") in keys
    moved = "\n\nX = None\n" + source
    assert [mutant.key for mutant in mutants_of(moved, ast.parse(moved))] == keys
    twice = "x = a[0] + b[0]"
    assert changes(twice) == {"+ to -": 1, "0 to 1": 1, "0 to 1 (2)": 1}


def trial(folder, *options: str, explained: str = "", tests: str = TESTS) -> tuple[int, str]:
    """Exit code and output of the script over the small module."""
    (folder / "sums.py").write_text(SUMS)
    (folder / "test_sums.py").write_text(tests)
    listing = folder / "mutants.toml"
    listing.write_text(f"[modules]\n'sums.py' = ['test_sums.py']\n[explained]\n'sums.py' = [{explained}]\n")
    command = [sys.executable, "-m", "benchmarks.mutants", "--root", folder, "--listing", listing, "--patience", "1"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_one_mutant_that_no_test_can_tell_is_told_and_those_that_hang_are_killed(tmp_path):
    """``at -= 1`` and ``at += 0`` never end."""
    code, said = trial(tmp_path, "--workers", "2")
    assert "sums.py: 12 mutants, 11 killed (91.7 %), 1 survived, 1 of them unexplained" in said
    assert SURVIVOR.format("") in said and "line 6, last" in said
    assert code == 1


@pytest.mark.slow
def test_a_survivor_that_is_explained_is_no_fault(tmp_path):
    code, said = trial(tmp_path, "--workers", "2", explained=SURVIVOR.format("of a list of one value alone"))
    assert code == 0 and "    of a list of one value alone" in said and "0 of them unexplained" in said


def test_an_explanation_has_to_fit_a_survivor(tmp_path):
    every = mutants_of(SUMS, ast.parse(SUMS))
    lives, dies = every[0], every[1]
    outcomes = [(mutant, mutant is not lives) for mutant in every]
    gone, why = ("last", "at = 3", "3 to 4"), "no test can tell"
    assert judged("sums.py", every, outcomes, {lives.key: why}).good
    verdict = judged("sums.py", every, outcomes, {lives.key: why, dies.key: why, gone: why})
    assert verdict.stale == [(gone, "no such mutant"), (dies.key, "it is killed")] and not verdict.good
    assert "fits no survivor (no such mutant): last | at = 3 | 3 to 4" in report(verdict, {})
    sampled = judged("sums.py", every, outcomes[:1], {lives.key: why, dies.key: why})
    assert not sampled.stale  # the other has not been tried
    assert sampled.share == 0.0 and not sampled.good and judged("sums.py", every, [], {}).good


def test_nine_in_ten_are_enough():
    every = mutants_of(SUMS, ast.parse(SUMS))[:10]
    for survivors in (1, 2):
        outcomes = [(mutant, number >= survivors) for number, mutant in enumerate(every)]
        verdict = judged("sums.py", every, outcomes, {mutant.key: "so" for mutant in every[:survivors]})
        assert verdict.good == (survivors == 1) and verdict.share == pytest.approx(1 - survivors / 10)


def test_a_survivor_is_printed_as_the_line_that_explains_it():
    source = """def f(a):\n    return {"it's": a + '\\\\'.find("x")}"""
    mutant = mutants_of(source, ast.parse(source))[0]
    assert tuple(tomllib.loads(f"a = [{entry(mutant)}]")["a"]) == mutant.key


def test_weak_tests_are_refused(tmp_path):
    weak = "from sums import last\n\n\ndef test_last():\n    assert last([7]) == 7\n"
    code, said = trial(tmp_path, tests=weak)
    assert code == 1 and "12 mutants, 4 killed (33.3 %)" in said


@pytest.mark.parametrize(
    ("tests", "says"),
    [
        ("def test_nothing():\n    pass\n", "test_sums.py never import it"),
        ("import sums\n\n\ndef test_wrong():\n    assert sums.last([1]) == 2\n", "its tests fail without a mutant"),
    ],
)
def test_tests_that_say_nothing_of_the_module_are_refused(tmp_path, tests, says):
    code, said = trial(tmp_path, tests=tests)
    assert code == 2 and says in said


def test_a_listing_runs_nothing(tmp_path):
    code, said = trial(tmp_path, "--list", tests="not python")
    assert code == 0 and len(said.splitlines()) == 12
    assert "sums.py:6: last: 0 to 1: at = 0" in said


def test_every_module_of_the_list_and_its_tests_are_there():
    listing = Listing.read(LISTING)
    for module, tests in listing.modules.items():
        source = (ROOT / module).read_text(encoding="utf-8")
        known = {mutant.key for mutant in mutants_of(source, ast.parse(source))}
        assert known and all((ROOT / name).is_file() for name in tests)
        assert set(listing.explained.get(module, {})) <= known, f"{module}: an explanation fits no mutant"
    assert set(listing.explained) <= set(listing.modules)
