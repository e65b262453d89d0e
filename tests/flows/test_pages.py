"""What the page of a flow run says, from facts alone."""

from datetime import UTC, datetime

from flows.pages import Facts, page

BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def facts(**more):
    counts = {"plan": (1, 1), "collect": (3, 7), "attend": (0, 0), "train": (0, 4)}
    return Facts("mini", "/runs/mini", "run", BEGUN, counts, **more)


def test_the_page_says_where_a_run_is():
    text = page(
        facts(
            runs={"collect": "http://ui/runs/flow-run/1", "train": ""},
            sizes={"tables": 1_000, "saes": 2_000_000},
            under_way=[f"collect shard {n}" for n in range(6)],
            stage="collect",
            progress="3 of 7 units, 4 s each, 16 s left",
            last="collect shard 9",
        )
    )
    assert text.startswith("# mini: under way\n")
    for line in (
        "| study | mini |",
        "| folder | `/runs/mini` |",
        "| command | the whole study |",
        "| stage | collect: 3 of 7 units, 4 s each, 16 s left |",
        "| at work on | collect shard 0, collect shard 1, collect shard 2, collect shard 3 and 2 more |",
        "| last unit | collect shard 9 |",
        "| on disk | 2.0 MB (tables 1.0 kB, saes 2.0 MB) |",
        "| begun | 2026-01-02 03:04:05 UTC |",
        "| plan | 1 | 1 | [collect](http://ui/runs/flow-run/1) |",
        "| collect | 3 | 7 | [collect](http://ui/runs/flow-run/1) |",
        "| train | 0 | 4 | train |",
    ):
        assert line in text.splitlines()
    assert "attend" not in text and "ended" not in text


def test_the_page_says_how_a_run_ended_and_names_break_no_table():
    text = page(facts(end="nothing to do: all 12 units are done", ended=BEGUN, last="label a|b<script>\nx"))
    assert text.startswith("# mini: nothing to do: all 12 units are done\n")
    assert "| ended | 2026-01-02 03:04:05 UTC |" in text
    assert "| last unit | label a\\|b&lt;script> x |" in text
    assert "at work on" not in text and "| train | 0 | 4 |  |" in text
