"""What the trial of kills deals, waits for and compares; the kills themselves are in tests/system and in the trial."""

import random

from benchmarks.kills import FIGURES, LONGEST_DELAY, Kill, deal, different, reached


def test_a_kill_is_dealt_within_its_stage():
    dealt = [deal("collect", 7, random.Random(seed)) for seed in range(300)]
    assert {kill.units for kill in dealt} == set(range(7))
    assert all(0 <= kill.delay <= LONGEST_DELAY for kill in dealt)


def test_the_moment_is_when_so_many_units_are_recorded(tmp_path):
    assert not reached(tmp_path, Kill("collect", 0, 0.0))
    for number in range(2):
        record = tmp_path / "done" / "collect" / f"{number:06d}.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text("{}")
    assert reached(tmp_path, Kill("collect", 2, 0.0)) and not reached(tmp_path, Kill("collect", 3, 0.0))
    assert not reached(tmp_path, Kill(FIGURES, 0, 0.0))


def test_a_byte_a_file_too_many_and_one_too_few_are_differences(tmp_path):
    for name in ("whole", "other"):
        for path, text in (("tables/images/a.parquet", "same"), ("figures/b.png", "same"), ("study.yaml", name)):
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
    whole, other = tmp_path / "whole", tmp_path / "other"
    assert different(whole, other) == []
    (other / "figures/b.png").write_text("Same")
    (other / "tables/images/.a.parquet.1.tmp").write_text("left over")
    assert different(whole, other) == ["tables/images/.a.parquet.1.tmp is in one study only", "figures/b.png differs"]
