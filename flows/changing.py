"""Commands that change a study without running its stages: other settings, repairs, cards."""

from __future__ import annotations

import argparse
from typing import Any


def revise(options: argparse.Namespace) -> int:
    """``concepts revise``: give a study other settings, and undo what follows from those that changed."""
    from storage.lock import writing
    from study.config import load_config

    config = load_config(options.config, options.set)
    from study.revise import plan_revision

    plan_revision(options.root, config)  # what cannot be revised is told before a folder is locked
    if options.dry_run:
        return _revise_now(options, config)
    with writing(options.root, "concepts revise", options.wait):
        return _revise_now(options, config)


def _revise_now(options: argparse.Namespace, config: Any) -> int:
    from storage.study import shown
    from study.revise import plan_revision
    from study.revise import revise as revise_as

    revision = plan_revision(options.root, config)
    if not revision.needed:
        print(f"{options.root} has these settings already: nothing to revise")
        return 0
    for key, change in revision.settings.items():
        print(shown({key: change}))
    for name, (old, now) in revision.versions.items():
        print(f"{name}: version {old} -> {now}")
    for stage in revision.stages:
        print(f"  {stage.stage:<10} {stage.done:>6} of {stage.units} units to be redone")
    if revision.removed:
        print(f"{len(revision.removed)} files or folders that the new settings have no place for are removed")
    if options.dry_run:
        print("nothing was changed")
        return 0
    revise_as(revision)
    print(f"study.yaml holds the new settings: `concepts run {options.config} --root {options.root}` redoes the rest")
    return 0


def thresholds(options: argparse.Namespace) -> int:
    """``concepts thresholds``: a vocabulary file with the cuts that suit the study's captions best."""
    from study.config import load_config

    config = load_config(options.config, options.set)
    from study.opening import open_existing
    from tasks.thresholds import calibrate_thresholds

    study = open_existing(options.root, config)
    thresholds = calibrate_thresholds(study, options.out, options.min_positives)
    own = [one for one in thresholds if one.threshold is not None]
    print(f"{options.out}: {len(own)} of {len(thresholds)} labels have a threshold of their own")
    return 0


def card(options: argparse.Namespace) -> int:
    """``concepts card``: pictures of concepts, whose paths are printed."""
    from storage.lock import writing
    from storage.study import read_study
    from tasks.pages import draw_cards

    read_study(options.dir)  # nothing is locked where there is no study
    with writing(options.dir, "concepts card", options.wait):
        for path in draw_cards(options.dir, options.site, options.cid, options.k):
            print(path)
    return 0


def repair(options: argparse.Namespace) -> int:
    """``concepts repair``: forget damaged units, and those that are named, with what followed from them."""
    from storage.lock import writing
    from study.repair import plan_repair
    from study.repair import repair as repair_as

    plan = plan_repair(options.dir, options.unit)  # what cannot be repaired is told before a folder is locked
    if not options.dry_run:
        with writing(options.dir, "concepts repair", options.wait):
            plan = plan_repair(options.dir, options.unit)
            repair_as(options.dir, plan)
    for line in plan.told():
        print(line)
    if options.dry_run:
        print("nothing was changed")
    elif plan.forgotten:
        print(f"`concepts run` with the study's configuration and --root {options.dir} makes them again")
    return 0
