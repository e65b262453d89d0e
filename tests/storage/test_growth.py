"""Which shards a growing study has of each split, and when its SAEs follow it."""

import pytest

from storage.growth import BEFORE, GROWTH, Growths, growth_unit, growths_of, refresh_due, shards_told
from storage.records import write_record
from storage.shown import FORMER, MARK, OF_GROWTH, hide_later, newest, show, shown_growths, shown_tables

FIRST = ("train", "dictionary", "train", "train", "style")
KNOWN = Growths((*FIRST, "train", "dictionary"), (5, 7), 0, "new", "digest")


def test_new_shards_of_the_train_split_wait_until_saes_are_refreshed():
    assert KNOWN.shards() == list(range(7))
    assert KNOWN.shards(["train"]) == [0, 2, 3] and KNOWN.shards(["dictionary"]) == [1, 6]
    assert KNOWN.shards(["dictionary"], as_trained=True) == [1]
    assert KNOWN.ranges("train", 10) == [(0, 10), (20, 40)]
    refreshed = Growths(KNOWN.splits, KNOWN.ends, 1, "retrain")
    assert refreshed.ranges("train", 10) == [(0, 10), (20, 40), (50, 60)]
    assert [KNOWN.growth_of(shard) for shard in (0, 4, 5, 6)] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("mode", "share", "due"),
    [("never", 0, None), ("retrain", 0, "retrain"), ("continue", 1 / 3, "continue"), ("retrain", 0.34, None)],
)
def test_saes_follow_from_the_rules_share_on(mode, share, due):
    """Of three shards; one comes in."""
    before = Growths(FIRST, (5,))
    assert refresh_due(before, ["train", "style"], mode, share) == due
    assert refresh_due(before, ["style"], mode, 0) is None
    assert refresh_due(Growths(), FIRST, mode, share) == "new"


def test_small_growths_add_up():
    before = Growths((*FIRST, "train"), (5, 6), 0)
    assert (
        refresh_due(before, [], "retrain", 0.5) is None and refresh_due(before, ["train"], "retrain", 0.5) == "retrain"
    )


def test_the_latest_whole_record_tells_of_all(tmp_path):
    facts = [
        {"shards": shards_told(FIRST), "refresh": "new", "source": "a"},
        {"shards": shards_told(["train", "dictionary"]), "refresh": None, "source": "b"},
    ]
    assert growths_of(tmp_path) == Growths()
    for number, one in enumerate(facts):
        write_record(tmp_path, "plan", growth_unit(number), {GROWTH: one, BEFORE: facts[:number]}, "hash")
        assert growths_of(tmp_path).last == number
    known = growths_of(tmp_path)
    assert (known.splits, known.ends, known.trained, known.source) == (KNOWN.splits, KNOWN.ends, 0, "b")
    (tmp_path / "done/plan/prompts.json").unlink()
    assert growths_of(tmp_path).splits == KNOWN.splits


def test_a_mark_says_which_growth_is_shown(tmp_path):
    record = {"tables": {"concepts": {"part": "new"}}, FORMER: {"concepts": {"part": "old"}}, OF_GROWTH: 1}
    part = tmp_path / "tables/concepts/old.parquet"
    part.parent.mkdir(parents=True)
    part.touch()
    write_record(tmp_path, "label", "one", record, "")
    assert shown_growths(tmp_path) == {}
    hide_later(tmp_path, ["label", "train"], 0)
    hide_later(tmp_path, ["label", "train"], 2)  # a second growth before the first is shown
    assert shown_growths(tmp_path) == {"label": 0, "train": 0}
    assert shown_tables(record, 0) == record[FORMER] and shown_tables(record, 1) == shown_tables(record, None)
    show(tmp_path, ["label"], 1)
    assert shown_growths(tmp_path) == {"label": 1, "train": 0} and not part.exists()
    assert (tmp_path / "done" / MARK[0] / f"{MARK[1]}.json").is_file()


def test_who_writes_reads_the_newest(tmp_path):
    from storage.shown import limits_of

    hide_later(tmp_path, ["label"], 3)
    with newest(), newest():
        assert limits_of(tmp_path) == {}
    assert limits_of(tmp_path) == {"label": 3}
