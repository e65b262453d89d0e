"""The ledger: verdicts by where an interval lies, none without one, and a page that is the study's own."""

import pytest

from benchmarks import ledger, ledger_claims, ledger_rules
from benchmarks.ledger_rules import (
    ABOVE,
    BELOW,
    DIFFERS,
    REPRODUCED,
    UNDECIDED,
    UNTESTED,
    Claim,
    Finding,
    Measured,
    Rule,
    decide,
    found_in,
    side,
)
from concepts.intervals import cluster_interval, mean_interval
from storage.errors import StorageError
from tests.parts import add_part, open_study

LEVEL, NUMBER = Rule("level", 0.1), Rule("number", 0.35)


def apart(interval):
    """A finding whose difference to the control has the interval."""
    return Finding(Measured(0.5, (0.4, 0.6)), Measured(0.5, (0.4, 0.6)), Measured(0.0, interval))


def ours(interval, control=None):
    return Finding(Measured(0.5, interval), None if control is None else Measured(0.2, control))


@pytest.mark.parametrize(
    ("low", "high", "found"), [(0.1, 0.2, "above"), (-0.2, -0.1, "below"), (-0.1, 0.1, "straddles")]
)
def test_an_interval_lies_above_below_or_straddles(low, high, found):
    assert side((low, high), 0.0) == found
    assert side((low + 5, high + 5), 5.0) == found


@pytest.mark.parametrize("interval", [(0.0, 0.2), (-0.2, 0.0)])
def test_an_end_on_the_bound_is_not_beyond_it(interval):
    assert side(interval, 0.0) == "straddles"
    assert decide(ABOVE, apart(interval)) == decide(BELOW, apart(interval)) == UNDECIDED


@pytest.mark.parametrize(
    ("rule", "interval", "verdict"),
    [
        (ABOVE, (0.01, 0.2), REPRODUCED),
        (ABOVE, (-0.2, -0.01), DIFFERS),
        (ABOVE, (-0.1, 0.2), UNDECIDED),
        (BELOW, (0.01, 0.2), DIFFERS),
        (BELOW, (-0.2, -0.01), REPRODUCED),
        (BELOW, (-0.1, 0.2), UNDECIDED),
        (LEVEL, (-0.09, 0.09), REPRODUCED),
        (LEVEL, (0.11, 0.3), DIFFERS),
        (LEVEL, (-0.3, -0.11), DIFFERS),
        (LEVEL, (0.05, 0.15), UNDECIDED),
        (LEVEL, (-0.15, 0.05), UNDECIDED),
        (LEVEL, (-0.5, 0.5), UNDECIDED),
    ],
)
def test_a_claim_is_decided_by_the_difference_to_its_control(rule, interval, verdict):
    assert decide(rule, apart(interval)) == verdict


@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        (ours((0.3, 0.4)), REPRODUCED),
        (ours((0.3, 0.4), (0.1, 0.2)), REPRODUCED),
        (ours((0.3, 0.4), (0.2, 0.5)), UNDECIDED),  # so does the control
        (ours((0.36, 0.4), (0.2, 0.5)), DIFFERS),
        (ours((0.2, 0.34)), DIFFERS),
    ],
)
def test_a_number_is_reproduced_where_our_interval_alone_has_it(finding, verdict):
    assert decide(NUMBER, finding) == verdict


def test_there_is_no_verdict_without_an_interval_or_a_control():
    alone = ours((0.7, 0.9))
    assert {decide(rule, alone) for rule in (ABOVE, BELOW, LEVEL)} == {UNTESTED}
    assert {decide(rule, apart(None)) for rule in (ABOVE, BELOW, LEVEL)} == {UNTESTED}
    assert decide(NUMBER, ours(None)) == UNTESTED
    with pytest.raises(ValueError, match="no rule is called 'nearly'"):
        decide(Rule("nearly"), apart((0.1, 0.2)))


def claim(**more):
    return Claim("Section", "text", "paper", "A", **more)


CASES = [{"unit": u, "ours": o, "control": c} for u, o, c in ((1, 1, 0), (1, 1, 1), (2, 0, 0), (3, 1, 0), (4, 0, 1))]


def test_cases_are_paired_and_their_units_resampled():
    found = found_in(CASES, claim())
    assert found.ours == Measured(0.6, cluster_interval([1.0, 1, 0, 1, 0], [1, 1, 2, 3, 4], 2000, 0))
    assert found.control.mean == pytest.approx(0.4) and found.difference.mean == pytest.approx(0.2)
    low, high = found.difference.interval
    assert low < 0 < high


def test_a_difference_is_of_the_same_cases():
    found = found_in([*CASES, {"unit": 9, "ours": 1, "control": None}], claim())
    assert found.ours.mean == pytest.approx(0.6)
    assert found_in([{"unit": 9, "ours": 1, "control": None}], claim()).control is None
    assert found_in([{"unit": 9, "ours": None, "control": 1}], claim()) is None and found_in([], claim()) is None


def test_student_weighs_units_alike_and_scale_multiplies_all():
    found = found_in(CASES, claim(student=True, scale=100))
    low, high = mean_interval([1.0, 0.0, 1.0, 0.0])
    assert found.ours.interval == pytest.approx((100 * low, 100 * high)) and found.ours.mean == pytest.approx(60)


def test_a_summary_is_taken_as_the_table_has_it():
    row = {"ours": 0.3, "ours_low": 0.2, "ours_high": 0.4, "control": 0.1, "above": 0.2, "above_low": 0.1}
    found = found_in([row | {"above_high": 0.3}], claim(scale=10))
    assert found.ours == Measured(3.0, (2.0, 4.0)) and found.control == Measured(1.0, None)
    assert found.difference == Measured(2.0, (1.0, 3.0))
    assert found_in([row | {"above_high": None}], claim()).difference == Measured(0.2, None)


QUERY = "select prompt_id as unit, score as ours, 0.1 as control from tags where label = '{}'"


@pytest.fixture
def study(tmp_path):
    open_study(tmp_path / "study", {"labels": {"embedder": "minilm"}}, {})
    rows = [{"prompt_id": i, "label": "tree", "score": 0.5 + i / 100, "tagger": "x"} for i in range(9)]
    add_part(tmp_path / "study", "tags", "a", rows)
    return tmp_path / "study"


@pytest.mark.parametrize(
    ("more", "verdict", "said"),
    [
        ({"query": QUERY.format("tree")}, REPRODUCED, "**reproduced**"),
        ({"query": QUERY.format("house")}, UNTESTED, "untested here: the study's tables have no such rows"),
        ({"query": QUERY.format("house"), "because": "no house"}, UNTESTED, "untested here: no house"),
        ({"because": "not built"}, UNTESTED, "untested here: not built"),
        ({"query": QUERY.format("tree"), "setting": ("labels.embedder", "minilm")}, REPRODUCED, "**reproduced**"),
        (
            {"query": QUERY.format("tree"), "setting": ("labels.embedder", "word2vec"), "because": "other vectors"},
            *(UNTESTED, "untested here: other vectors"),
        ),
    ],
)
def test_a_study_is_asked_and_the_row_says_why_it_is_untested(study, more, verdict, said):
    (row,) = ledger.rows_of(study, [claim(rule=ABOVE, against="nothing", **more)])
    assert row.verdict == verdict and row.cells()[5] == said


def onset(kind, tau50, low, high, control="none"):
    row = {"kind": kind, "control": control, "target": "*", "tau50": tau50, "tau50_ci_low": low, "tau50_ci_high": high}
    return row | {"n_prompts": 9, "length": 0.4}


@pytest.mark.parametrize(
    ("rows", "verdicts"),
    [
        ([], [UNTESTED] * 3),
        (
            [onset("spatial", 0.7, 0.65, 0.8), onset("global", 0.5, 0.4, 0.55), onset("spatial-global", 0.2, 0.1, 0.3)],
            [REPRODUCED] * 3,
        ),
        (
            [
                onset("spatial", 0.5, 0.4, 0.58),
                onset("global", 0.7, 0.65, 0.8),
                onset("spatial-global", -0.2, -0.3, -0.1),
            ],
            [DIFFERS] * 3,
        ),
        (
            [onset("spatial", 0.6, 0.5, 0.7), onset("global", 0.6, 0.5, 0.7), onset("spatial-global", 0.0, -0.1, 0.1)],
            [UNDECIDED] * 3,
        ),
        ([onset("spatial", None, None, None), onset("global", 0.5, None, None)], [UNTESTED] * 3),
    ],
)
def test_the_reading_is_decided_by_the_temporal_atlas(study, rows, verdicts):
    """A study without the atlas is untested, not an error."""
    if rows:
        shorter = {"length": 0.2, "tau50": 0.6, "tau50_ci_low": 0.1, "tau50_ci_high": 0.9}  # and is not asked
        add_part(study, "temporal_onsets", "tau50", [*rows, *(row | shorter for row in rows)])
    asked = [c for c in ledger.all_claims() if "temporal_onsets" in c.query]
    found = ledger.rows_of(study, asked)
    places, looks, switched, apart = (row.verdict for row in found)
    assert [places, looks, apart] == verdicts and switched == UNTESTED  # nothing is known of switched prompts here


def test_a_query_that_fails_is_an_error_and_no_verdict(study):
    with pytest.raises(StorageError, match="tau"):
        ledger.rows_of(study, [claim(rule=ABOVE, query="select 1 as ours from tau")])


def test_a_row_shows_ours_its_control_and_the_difference(study):
    (row,) = ledger.rows_of(study, [claim(rule=ABOVE, query=QUERY.format("tree"), against="chance", student=True)])
    assert row.cells() == [
        *("text", "paper", "0.54 (0.52 to 0.56)", "chance: 0.10 (0.10 to 0.10)", "+0.44 (0.42 to 0.46)"),
        *("**reproduced**", "A"),
    ]


def test_every_claim_can_be_asked_of_a_study_and_says_what_it_needs(study):
    """Every query runs, on tables of no rows: a row for each claim, and no verdict."""
    claims = ledger.all_claims()
    assert len({(c.section, c.text) for c in claims}) == len(claims) > 100
    assert {c.needs for c in claims} == set(ledger_claims.NEEDS)
    assert {row.verdict for row in ledger.rows_of(study, claims)} == {UNTESTED}
    assert [c.text for c in claims if c.query and not c.against and c.rule] == []
    assert [c.text for c in claims if not c.query and not c.because] == []


def test_the_page_is_renewed_and_checked(study, tmp_path, monkeypatch, capsys):
    page = tmp_path / "ledger.md"
    monkeypatch.setattr(ledger, "REPO", tmp_path)
    monkeypatch.setattr(ledger, "PAGE", page)
    monkeypatch.setattr(ledger, "all_claims", lambda: (claim(rule=ABOVE, query=QUERY.format("tree"), against="x"),))
    page.write_text(f"before\n<!-- {ledger.MARK} -->\nold\n<!-- end -->\nafter\n")
    assert ledger.main([str(study), "--check"]) == 1 and "old" in page.read_text()
    assert ledger.main([str(study)]) == 0 and ledger.main([str(study), "--check"]) == 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("<!-- end -->\nafter\n") and "old" not in text
    assert "Of 1 claims: 1 reproduced, 0 differs, 0 undecided, 0 untested here." in text and "## Section" in text
    page.write_text(text.replace("0.54", "0.55"))
    assert ledger.main([str(study), "--check"]) == 1
    capsys.readouterr()
    assert ledger.main([str(study), "--print"]) == 0 and "| text | paper | 0.54" in capsys.readouterr().out


def test_the_page_says_at_its_top_whose_results_they_are_and_has_a_row_for_every_claim():
    page = ledger.PAGE.read_text()
    assert page.index("miniature") < page.index("None of it is a result about Stable Diffusion") < page.index("| ")
    assert page.count(ledger.MARK) == 1
    assert [c.text for c in ledger.all_claims() if f"| {c.text} | {c.paper} |" not in page] == []
    assert set(ledger_rules.VERDICTS) == {REPRODUCED, DIFFERS, UNDECIDED, UNTESTED}
