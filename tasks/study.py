"""The study as tasks see it: configuration, folder and hash, plus per-process caches of the heavy models.

What loads a model imports its libraries itself: whether anything is left to do is asked without them.
"""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion.settings import ModelSettings
from storage.names import refuse_root
from storage.records import read_record, records
from storage.store_metadata import NoStoreError, read_documents, store_path
from storage.study import amend_study, check_study, config_hash, create_study, has_study, read_study, with_legacy
from storage.vouch import check, vouched_files
from tasks.config import StudyConfig, parse_config
from tasks.dependencies import ADDED, STAGES, refuse_other_versions, revisable, stage_hash, stage_versions
from tasks.errors import StudyError
from tasks.former import with_former_values
from tasks.identity import CONTENTS, contents_of, new_contents, settled
from tasks.threads import THREADS, cpu_capability, with_own_threads, with_recorded_threads

if TYPE_CHECKING:
    from diffusion.model import DiffusionModel
    from storage.activations import ActivationStore
    from vision.types import Backend

Site = tuple[str, float, str]
PACKAGES = ("concept-atlas", "torch", "diffusers", "transformers", "prefect", "zarr", "pyarrow", "numpy")


@dataclass(frozen=True)
class Study:
    """A configuration and the folder it fills. Small and picklable: tasks receive it instead of data.

    ``recorded``: the configuration with the paths that ``study.yaml`` has, if the same files lie elsewhere now.
    """

    root: str
    config: StudyConfig
    config_hash: str
    recorded: StudyConfig | None = None

    @property
    def identity(self) -> StudyConfig:
        """The configuration as the study knows it: what hashes are of."""
        return self.recorded or self.config

    def hash_of(self, stage: str) -> str:
        """Hash of all that a stage's results follow from; its completion records carry it."""
        return stage_hash(self.identity, stage)


def open_or_create(root: str | Path, config: StudyConfig) -> Study:
    """Create the study folder or open the one that is there. The caller holds its lock, for it may be about to be made.

    A setting that came later than the study and that ``config`` does not name has the value the study was made under.
    Raises ``StorageError`` on another configuration or on a store that has lost its metadata, ``StudyError`` on a lost
    store.
    """
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
    return study_as(root, config, settings)


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
    from tasks.inputs import check_inputs  # imports the model libraries: only where a study is about to be made

    check_inputs(config)


def open_existing(root: str | Path, config: StudyConfig) -> Study:
    """The study that is there, for reading. Raises ``StorageError`` if there is none, or one of other settings."""
    read_study(root)
    may_write(root, config)
    config = with_former_values(root, config)
    return study_as(root, config, _identified(root, config)[0])


def recorded_study(root: str | Path) -> Study:
    """The study that is there, as ``study.yaml`` describes it: to be read, its model and captions need not be there.

    Raises ``StorageError`` if there is none.
    """
    known = read_study(root)
    config = parse_config(with_legacy(known["config"], ADDED), str(Path(root) / "study.yaml"))
    return Study(str(root), config, known["config_hash"])


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


def provenance_of(contents: dict[str, str], threads: int | None) -> dict[str, Any]:
    """What ``study.yaml`` says beside the settings: versions, commit, and digests of the files that settings name.

    And the machine's part in the last bits of results: its instructions and the ``threads`` of an operation.
    """
    return {
        "stages": stage_versions(),
        "versions": versions(),
        "git_sha": git_sha(),
        "cpu_capability": cpu_capability(),
        THREADS: threads,
        CONTENTS: contents,
    }


def versions() -> dict[str, str]:
    """Installed versions of the packages that can change a number, and Python's own."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


@functools.cache
def git_sha() -> str | None:
    """Commit of the source tree the code runs from, or None where it is not known.

    Where there is no checkout, as in the image, CONCEPT_ATLAS_GIT_SHA says what it was built of.
    """
    command = ["git", "-C", str(Path(__file__).resolve().parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("CONCEPT_ATLAS_GIT_SHA") or None


_idle: dict[ModelSettings, list[DiffusionModel]] = {}
_idle_lock = threading.Lock()


@contextmanager
def borrowed_model(study: Study) -> Iterator[DiffusionModel]:
    """A diffusion model that no other thread uses meanwhile, its blocks checked against the configuration.

    Recording and editing hang hooks on the U-Net, and its tokenizer changes state, so two threads must not share one.
    A model is loaded when all are in use: as many as tasks run at once in this process, one by default.
    """
    from diffusion.model import check_blocks, load_model

    settings = study.config.model
    with _idle_lock:
        for other in set(_idle) - {settings}:
            del _idle[other]
        ready = _idle.setdefault(settings, [])
        model = ready.pop() if ready else None
    if model is None:
        model = load_model(settings)
    try:
        check_blocks(model, study.config.sites.blocks)
        yield model
    finally:
        with _idle_lock:
            _idle.setdefault(settings, []).append(model)


def release_models() -> None:
    """Give up the diffusion models that nobody uses: training and labelling need their memory."""
    with _idle_lock:
        _idle.clear()


_backend_lock = threading.Lock()


@functools.lru_cache(maxsize=1)
def _backend(settings: Any) -> Backend:
    from vision.backend import load_backend

    return load_backend(settings)


def backend_of(study: Study) -> Backend:
    """Tagger, detector, segmenter, judge and second opinion, loaded once per process."""
    with _backend_lock:  # two threads that load at once would load twice, and transformers' loading stands no company
        return _backend(study.config.vision)


def store_of(study: Study) -> ActivationStore:
    """The activation store that planning made.

    Raises ``StorageError`` if it is not there, or if its metadata are not those that the plan's record names.
    """
    from storage.activations import ActivationStore

    store = ActivationStore.open(study.root)
    for name, digest in vouched_files(read_record(study.root, "plan", "prompts") or {}).items():
        check(Path(study.root) / name, digest)
    return store


def refuse_lost_store(root: str | Path) -> None:
    """Raise ``StorageError`` if the store lacks metadata, ``StudyError`` if it is gone with the shards in it."""
    try:
        read_documents(root)
    except NoStoreError as error:
        if recorded := records(root, "collect"):
            raise StudyError(
                f"{store_path(root)} is gone, with {len(recorded)} recorded shards: put it back, or run "
                "`concepts repair` and `concepts run` to record them again"
            ) from error


def create_store(study: Study) -> ActivationStore:
    """Make the store, one float16 array [prompt, row, column, channel] per site, or check the one that is there.

    Raises as ``refuse_lost_store`` does: an empty store would not bring the shards back.
    """
    from storage.activations import ActivationStore

    config = study.config
    refuse_lost_store(study.root)
    try:
        shapes = _shapes_by_block(store_of(study))  # a study's model never changes: no need to load it
    except NoStoreError:
        shapes = measured_shapes(study)
    check_widths(config, shapes)
    by_site = {(b, t, c): shapes[b] for b, t, c in config.sites_list() if b in shapes}
    total = sum(config.prompts.splits.values())
    return ActivationStore.create(study.root, by_site, total, config.prompts.shard_size, config.run.compression)


def measured_shapes(study: Study) -> dict[str, tuple[int, int, int]]:
    """(rows, columns, channels) of each block's residual update, asked of the model itself, which is loaded for it."""
    from diffusion.model import block_shapes

    with borrowed_model(study) as model:
        return block_shapes(model, study.config.sites.blocks, study.config.sampling)


def _shapes_by_block(store: ActivationStore) -> dict[str, tuple[int, int, int]]:
    return {site[0]: store.shape(site) for site in store.sites}


def check_widths(config: StudyConfig, shapes: dict[str, tuple[int, int, int]]) -> None:
    """Refuse a k that no SAE of a block can have now, before hours of collecting, not when training begins."""
    for block, (_, _, channels) in shapes.items():
        latents = min(config.sae.expansion) * channels
        if max(config.sae.k) > latents:
            raise StudyError(
                f"sae.k is {max(config.sae.k)} but the SAE of block {block!r} has only {latents} latents: "
                "lower k or raise sae.expansion"
            )


def split_range(study: Study, split: str) -> tuple[int, int]:
    """[start, stop) of a split's prompt ids; splits are contiguous in the order of the configuration."""
    start = 0
    for name, size in study.config.prompts.splits.items():
        if name == split:
            return start, start + size
        start += size
    raise KeyError(split)


def shards_of(study: Study, *splits: str) -> list[int]:
    """Shards that hold at least one prompt of the named splits, ascending."""
    size = study.config.prompts.shard_size
    shards: set[int] = set()
    for split in splits or tuple(study.config.prompts.splits):
        start, stop = split_range(study, split)
        if stop > start:
            shards.update(range(start // size, (stop - 1) // size + 1))
    return sorted(shards)


def site_path(site: Site) -> str:
    """``block/t/conditioning`` as in the folder contract, t with two decimals."""
    block, t, conditioning = site
    return f"{block}/{t:.2f}/{conditioning}"


def site_columns(site: Site, k: int) -> dict[str, Any]:
    """The columns that name a site in every site table."""
    return {"block": site[0], "t": site[1], "conditioning": site[2], "k": k}


def site_folder(study: Study, site: Site) -> Path:
    """Folder of a site's SAEs, its statistics and its checkpoint's commit file."""
    return Path(study.root) / "saes" / site_path(site)


def sae_folder(study: Study, site: Site, k: int) -> Path:
    """Folder of one dictionary SAE; its controls and relatives lie below it."""
    return site_folder(study, site) / f"k{k}"


def shared_folder(study: Study, block: str, conditioning: str) -> Path:
    """Where the SAEs of all times together are trained; folded, they lie in each site's ``k<k>/shared``."""
    return Path(study.root) / "saes" / block / "shared" / conditioning


def time_series(study: Study) -> list[tuple[str, str]]:
    """Every (block, conditioning): the sites that differ in time only."""
    return [(block, c) for block in study.config.sites.blocks for c in study.config.sites.conditionings]


def series_name(block: str, conditioning: str) -> str:
    """Name of the completion record of a (block, conditioning)."""
    return f"{block}/{conditioning}"


def sae_units(study: Study) -> list[tuple[Site, int]]:
    """Every (site, k): the unit of work of training, labelling and layout."""
    return [(site, k) for site in study.config.sites_list() for k in study.config.sae.k]


def unit_name(site: Site, k: int) -> str:
    """Name of a unit's completion record."""
    return f"{site_path(site)}/k{k}"


def part_name(site: Site, k: int) -> str:
    """Name of the table part that a (site, k) unit writes."""
    return unit_name(site, k).replace("/", "-")
