"""The comparison of two ways to choose strengths, on rows by hand."""

from benchmarks.halving import choices


def row(target, strength, success, n, random=0.0):
    told = {"success": success, "random_success": random, "n": n}
    return {"window": "early", "target": target, "strength": strength, **told}


def test_each_target_has_its_two_strengths_and_how_the_full_trial_ranks_them():
    full = [row("tree", 2.0, 0.0, 8), row("tree", 4.0, 1.0, 8, random=0.25), row("tree", 8.0, 0.5, 8)]
    full += [row("boat", 2.0, 1.0, 8), row("boat", 4.0, 0.0, 8), row("boat", 8.0, 0.0, 8)]
    halved = [row("tree", 2.0, 0.0, 8), row("tree", 4.0, 1.0, 2), row("tree", 8.0, 0.75, 8)]
    halved += [row("boat", 2.0, 1.0, 8), row("boat", 4.0, 0.0, 8), row("boat", 8.0, 0.0, 2)]
    tree, boat = choices(full, halved, (2.0, 4.0, 8.0))
    assert tree == {
        "window": "early", "target": "tree", "full": 4.0, "halving": 8.0, "above_full": 0.75, "above": 0.5
    }  # fmt: skip
    assert (boat["full"], boat["halving"]) == (2.0, 2.0)
