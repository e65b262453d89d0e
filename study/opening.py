"""Opening a study folder: made on the first run, compared on every later one, refused where it would be mixed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffusion.errors import DiffusionError
from storage.claims import one_at_a_time
from storage.names import refuse_root
from storage.records import records
from storage.study import amend_study, check_study, config_hash, create_study, has_study, read_study, with_legacy
from study.config import StudyConfig, parse_config
from study.errors import StudyError
from study.former import with_former_values
from study.hashes import ADDED, refuse_other_versions, revisable, stage_versions
from study.identity import CONTENTS, SOURCE, contents_of, new_contents, settled
from study.provenance import provenance_of
from study.settings_file import apply_overrides
from study.stages import STAGES
from study.store import refuse_lost_store
from study.study import Study
from study.threads import THREADS, with_own_threads, with_recorded_threads

COLLECTING = ("run", "collect")


def open_or_create(root: str | Path, config: StudyConfig) -> Study:
    """Create the study folder or open the one that is there. The caller holds its lock, for it may be about to be made.

    Those who share a folder come in one at a time.

    A setting that came later than the study and that ``config`` does not name has the value the study was made under.
    Raises ``StorageError`` on another configuration or on a store that has lost its metadata, ``StudyError`` on a lost
    store.
    """
    if not config.run.share:
        return _open_or_create(root, config)
    with one_at_a_time(root, "open/study", config.run.lease):
        return _open_or_create(root, config)


def _open_or_create(root: str | Path, config: StudyConfig) -> Study:
    config = with_former_values(root, config)
    settings, contents = _identified(root, config)
    if not check_study(root, settings, revisable, ADDED):
        _check_inputs(config)
        config = with_own_threads(config)
        create_study(root, settings, provenance_of(contents, config.run.torch_threads), ADDED)
    known = read_study(root)
    _refuse_unfit(root, known)
    config = with_own_threads(with_recorded_threads(root, config, known))
    now = {"stages": stage_versions(), CONTENTS: new_contents(known, contents), THREADS: config.run.torch_threads}
    if any(known.get(key) != value for key, value in now.items()):
        amend_study(root, now)
    return _looking(study_as(root, config, settings), contents)


def may_write(root: str | Path, config: StudyConfig) -> bool:
    """Whether the folder holds a study; one that the settings may not go on with is refused as ``open_or_create`` does.

    Where there is none yet, model, captions and vision models are looked at. Writes nothing, so that mistakes are told
    before a folder is made, and while another command holds it.
    """
    settings, _ = _identified(root, with_former_values(root, config))
    there = check_study(root, settings, revisable, ADDED)
    if there:
        known = read_study(root)
        _refuse_unfit(root, known)
        with_recorded_threads(root, config, known)
    else:
        _check_inputs(config)
    return there


def _check_inputs(config: StudyConfig) -> None:
    from study.inputs import check_inputs  # imports the model libraries: only where a study is about to be made

    check_inputs(config)


def open_existing(root: str | Path, config: StudyConfig) -> Study:
    """The study that is there, for reading. Raises ``StorageError`` if there is none, or one of other settings."""
    read_study(root)
    may_write(root, config)
    config = with_former_values(root, config)
    settings, contents = _identified(root, config)
    return _looking(study_as(root, config, settings), contents)


def for_command(study: Study, command: str) -> Study:
    """The study as a command takes it: what the captions have gained is for those that collect, and for no other."""
    return study if command in COLLECTING else replace(study, source=None)


def _looking(study: Study, contents: dict[str, str]) -> Study:
    """A growing study that knows what its captions' files contain now."""
    return replace(study, source=contents.get(SOURCE)) if study.config.prompts.grows else study


def recorded_study(root: str | Path) -> Study:
    """The study that is there, as ``study.yaml`` describes it: to be read, its model and captions need not be there.

    Raises ``StorageError`` if there is none.
    """
    known = read_study(root)
    config = parse_config(with_legacy(known["config"], ADDED), str(Path(root) / "study.yaml"))
    return Study(str(root), config, known["config_hash"])


def study_with_models(root: str | Path, overrides: Iterable[str] = ()) -> Study:
    """The study that is there, to be sampled and judged once more by the models that it was made with.

    ``overrides`` (``model.path=FOLDER``) tell where its files are by now. Raises ``StorageError`` if there is none, or
    for files or settings that are not the study's; ``DiffusionError`` or ``StudyError`` for a model that is not there.
    """
    known = read_study(root)
    raw = with_legacy(known["config"], ADDED)
    apply_overrides(raw, overrides)
    config = parse_config(raw, str(Path(root) / "study.yaml"))
    try:
        contents = contents_of(config)
    except DiffusionError as error:
        raise StudyError(f"{error}; --set model.path=FOLDER says where the study's model is now") from error
    settings = settled(root, known, config, contents)
    check_study(root, settings, revisable, ADDED)
    return study_as(root, with_recorded_threads(root, config, known), settings)


def study_as(root: str | Path, config: StudyConfig, settings: dict[str, Any]) -> Study:
    """The study of a configuration whose settings ``study.yaml`` names as ``settings`` does."""
    recorded = None if settings == config.model_dump(mode="json") else StudyConfig.model_validate(settings)
    return Study(str(root), config, config_hash(settings, ADDED), recorded)


def _identified(root: str | Path, config: StudyConfig) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings as the folder's study names them, and the digests of the files that they name."""
    refuse_root(root)
    contents = contents_of(config)
    if not has_study(root):
        return config.model_dump(mode="json"), contents
    return settled(root, read_study(root), config, contents), contents


def _refuse_unfit(root: str | Path, known: dict[str, Any]) -> None:
    refuse_other_versions(root, known.get("stages", {}), [stage for stage in STAGES if records(root, stage)])
    refuse_lost_store(root)
