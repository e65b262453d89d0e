"""Every stage of a study and every command that runs some, declared once.

Prefect tasks and flows, the command line, preconditions, ``status``, ``verify``, ``revise``, ``repair``, ``serve`` and
the hashes that say what is done all follow from these two lists; docs/adding_a_stage.md tells how to add to them. The
tables that a stage writes are declared in the modules ``storage/declared_*.py``, which name it. Nothing heavy is
imported: a stage's work is named, and imported by who does it.
"""

from __future__ import annotations

from concepts.edit_controls import TRACED
from study import units
from study.stage import ALL, OF_SERIES, OF_TIMES, SAME, Command, Given, Stage, of_splits


def _leaves_blocks_to_a_trace(config: Given) -> bool:
    edits, blocks = config["interventions"], config["sites"]["blocks"]
    named = [edits.get(name) or edits.get("block") for name in ("spatial_block", "global_block")]
    return TRACED in named and len(blocks) > 1


def _halves_strengths(config: Given) -> bool:
    return bool(config["interventions"].get("calibration", "full") == "halving")


def _below(group: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{group}.{name}" for name in names)


_TRAINING = _below(
    "sae",
    *("variant", "matryoshka", "k", "expansion", "batch_size", "lr", "epochs", "warmup_fraction", "decay_fraction"),
    *("clip", "aux_alpha", "aux_k", "dead_after_vectors", "dead_check_every", "adam_eps", "precision"),
    *("checkpoint_every", "buffer_gb", "vectors", "axes", "encoder_start", "adam_betas"),
)
_VISION = (  # of every step that runs a vision model
    *("vision.backend", "vision.plugin", "vision.mini.path", "vision.mini.batch_size"),
    *_below("vision.transformers", "device", "dtype", "batch_size"),
)
_JUDGE = (*_VISION, *_below("vision.transformers", "judge_clipseg", "judge_clip", "prompt_template"))

_COMMANDS = (
    Command("collect", "sample images and record activations", "tasks.collect:end"),
    Command("train", "train the sparse autoencoders", "tasks.share:end"),
    Command("label", "segment the images and label the concepts", "tasks.artifacts:label_artifacts"),
    Command("layout", "predict layouts and score them", "tasks.artifacts:layout_artifacts"),
    Command("intervene", "edit images by concepts and by controls", "tasks.artifacts:intervene_artifacts"),
    Command("figures", "draw the pictures of a study", "tasks.figures:end", typed=False),
)
# Not of the study itself: it needs images of known truth, and has a flow with more parameters of its own.
BENCH = Command("bench", "score dictionaries against images of known truth", "tasks.artifacts:bench_artifacts")
TRACE = Command("trace", "trace which blocks and times carry another caption", "tasks.artifacts:trace_artifacts")
ATLAS = Command("atlas", "follow edits over their onset, and try every concept", "tasks.artifacts:atlas_artifacts")
# Run by their own names alone: they take long, or ask more than a study needs.
OPTIONAL = {command.name: command for command in (TRACE, ATLAS)}
COMMANDS: dict[str, Command] = {command.name: command for command in _COMMANDS}  # what `concepts run` runs, in order

_STAGES = (
    Stage(
        "plan",
        "collect",
        "tasks.collect:plan",
        units.the_prompts,
        reads=("seed", "prompts", "model"),
        keeps_still=True,
        heals=True,
        local=True,
    ),
    Stage(
        "collect",
        "collect",
        "tasks.collect:collect_shard",
        units.shards,
        reads=("sites", "sampling"),
        after={"plan": ALL},
        keeps_still=True,
    ),
    Stage(
        "train",
        "train",
        "tasks.curves:train_site",
        units.saes_by_site,
        reads=(*_TRAINING, "sae.seeds", "sae.frozen_control", "sae.controls"),
        after={"collect": of_splits("train", "dictionary", as_trained=True)},
        version=2,  # learning curves, and how far each SAE has left its start
        replaces=True,
    ),
    Stage(
        "share",
        "train",
        "tasks.curves:train_shared",
        units.shared_saes,
        reads=(*_TRAINING, "sae.seeds", "sae.across_time"),
        after={"collect": of_splits("train", "dictionary", as_trained=True)},
        version=2,  # as train
        replaces=True,
        prefix="shared-",
    ),
    Stage(
        "match",
        "train",
        "tasks.match:match_times",
        units.matches,
        reads=("sae.match_prompts",),
        after={"train": OF_TIMES, "share": OF_SERIES},
        version=2,  # beside each partner the other seed's
    ),
    Stage(
        "tag",
        "label",
        "tasks.segment:tag_shard",
        units.segmented_shards,
        reads=(
            *_VISION,
            *_below("vision", "vocabulary", "vocabulary_file"),
            *_below("vision.mini", "min_area", "style_score"),
            *_below("vision.transformers", "tagger", "clip", "prompt_template", "tag_score"),
        ),
        after={"collect": SAME},
    ),
    Stage(
        "detect",
        "label",
        "tasks.segment:detect_shard",
        units.segmented_shards,
        reads=(
            *_VISION,
            "vision.mini.min_area",
            *_below("vision.transformers", "detector", "prompt_template", "box_score", "nms_iou", "max_box"),
        ),
        after={"tag": SAME},
    ),
    Stage(
        "segment",
        "label",
        "tasks.segment:segment_shard",
        units.segmented_shards,
        reads=(
            *_VISION,
            *_below("vision.mini", "min_score", "second_path"),
            *_below("vision.transformers", "segmenter", "boxes_at_once", "mask_score", "min_area", "merge_iou"),
            "vision.transformers.second_opinion",
        ),
        after={"detect": SAME},
    ),
    Stage(
        "areas", "label", "tasks.segment:areas_of_shard", units.segmented_shards, after={"segment": SAME}, on_cpu=True
    ),
    Stage(
        "label",
        "label",
        "tasks.label:label_concepts",
        units.saes,
        reads=("labels",),
        after={"train": SAME, "share": OF_SERIES, "areas": of_splits("dictionary")},
        # 2: neurons and principal directions are fitted on a few shards; the selection half alone decides; chance
        # overlap by its exact variance; the context-free score against chance. 3: each concept's start and stability.
        # 4: how strongly each concept fires, and which others fire with it (concept_activity).
        version=4,
    ),
    Stage(
        "attend",
        "layout",
        "tasks.attend:attend_shard",
        units.attended_shards,
        reads=("layout.attention",),
        after={"areas": SAME},
    ),
    Stage(
        "layout",
        "layout",
        "tasks.layout:score_layout",
        units.saes,
        reads=("layout",),
        after={"label": SAME, "attend": ALL},
        too={"areas": of_splits(*units.SEGMENTED_SPLITS), "collect": of_splits("layout")},
        version=3,  # 2: by each control, too. 3: baselines by noise, nouns, activations; undetected nouns; summaries
    ),
    Stage(
        "locate",
        "intervene",
        "tasks.locate:run_locate",
        units.located_kinds,
        reads=(
            *_JUDGE,
            *_below("interventions", "block", "spatial_block", "global_block", "objects", "styles", "bootstrap"),
            *_below("atlas", "phrases", "trace_prompts"),
        ),
        after={"collect": of_splits("style", "layout")},
        asked=_leaves_blocks_to_a_trace,
    ),
    Stage(
        "calibrate",
        "intervene",
        "tasks.calibrate:run_calibration",
        units.calibrations,
        reads=(
            *_JUDGE,
            *_below("interventions", "block", "spatial_block", "global_block", "halves", "windows"),
            *_below("interventions", "objects", "styles"),
            *_below("interventions", "spatial_strengths", "global_strengths"),
            *_below("interventions", "calibration_images", "concepts_per_target", "carriers", "transfer_from"),
            *_below("interventions", "style_cids", "spatial_scaling", "global_scaling", "judge_floor"),
            *_below("interventions", "calibration", "strength_by"),
        ),
        only_if={"interventions.strength_by": _halves_strengths},  # whose images give up on a strength
        after={"label": ALL, "locate": ALL},
        too={"collect": of_splits("dictionary")},
        # 2: a step belongs to one of the windows that touch at it, once to both; prompts without any look. 3: the unit
        # of strengths is the norm of the whole train split, once of its first shard.
        version=3,
    ),
    Stage(
        "intervene",
        "intervene",
        "tasks.intervene:run_edits",
        units.edits,
        reads=(
            *_JUDGE,
            *_below(
                "interventions",
                "strength_by",
                "prompts_per_target",
                "global_prompts",
                "similarity",
                "lpips",
                "damage",
                "keep_images",
                "controls",
            ),
            "atlas.phrases",  # where the caption is switched as a control
        ),
        after={"calibrate": ALL},
        too={"label": ALL, "collect": of_splits("train", "style")},
        version=4,  # 2, 3: as calibrate. 4: what edits cost, by the judge and off the distribution of the activations
    ),
    Stage(
        "effects",
        "intervene",
        "tasks.effects:summarise_effects",
        units.all_effects,
        reads=("interventions.bootstrap",),
        after={"intervene": ALL},
        # 2: targets apart, and cases that the unedited image does not fulfil; no interval where none is known. 3: how
        # often the similarity rose at all, the paper's success of a global edit. 4: what edits cost, with intervals.
        version=4,
        on_cpu=True,
    ),
    Stage(
        "draw",
        "figures",
        "tasks.figures:draw_figures",
        units.all_figures,
        after={"match": ALL, "layout": ALL, "effects": ALL},
        heals=True,
        local=True,
        on_cpu=True,
    ),
    Stage(
        "trace",
        "trace",
        "tasks.trace:run_trace",
        units.traces,
        reads=(
            *_JUDGE,
            *_below("interventions", "objects", "styles", "windows"),
            *_below("atlas", "phrases", "trace_prompts", "trace_depth"),
        ),
        after={"collect": of_splits("style", "layout")},
    ),
    Stage(
        "onsets",
        "atlas",
        "tasks.temporal:run_onsets",
        units.onset_edits,
        reads=(
            "interventions.strength_by",
            *_below("atlas", "prompts", "looks_per_prompt", "length", "onsets", "controls", "phrases"),
        ),
        after={"calibrate": ALL},
        too={"label": ALL, "collect": of_splits("style", "layout")},
        version=2,  # windows at the end are cut off by it, and were left out
    ),
    Stage(
        "tau50",
        "atlas",
        "tasks.halving:run_tau50",
        units.all_onsets,
        after={"onsets": ALL},
        on_cpu=True,
    ),
    Stage(
        "causes",
        "atlas",
        "tasks.causes:run_causes",
        units.causes,
        reads=_below("atlas", "cause_prompts", "cause_directions"),
        after={"label": ALL, "calibrate": ALL},
        too={"collect": of_splits("style", "layout")},
    ),
    Stage(
        "bench",
        "bench",
        "tasks.bench:bench_time",
        units.scored_times,
        after={"train": ALL, "share": ALL},
        version=3,  # 2: classical methods fitted on a few shards; f1_chosen. 3: intervals of detectors without errors
    ),
)
STAGES: dict[str, Stage] = {stage.name: stage for stage in _STAGES}  # each after all that it reads from


def stages_of(command: str) -> list[Stage]:
    """The stages that a command runs, in order; those of all commands for ``run``."""
    names = COMMANDS if command == "run" else (command,)
    return [stage for stage in _STAGES if stage.command in names]


def needs_device(command: str) -> bool:
    """Whether a stage of a command, or of all for ``run``, works on ``model.device``."""
    return not all(stage.on_cpu for stage in stages_of(command))


def stages_before(command: str) -> list[Stage]:
    """The stages of other commands that must be complete before a command may run, in order."""
    needed: set[str] = set()
    for stage in reversed(_STAGES):
        if stage.command == command or stage.name in needed:
            needed |= set(stage.after)
    return [stage for stage in _STAGES if stage.name in needed and stage.command != command]
