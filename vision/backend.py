"""Choosing the backend that the settings name."""

from __future__ import annotations

from vision.errors import VisionError
from vision.mini import SIDE, load_mini
from vision.plugins import BACKENDS, TAGGERS, load_plugin
from vision.settings import OWN_TAGGERS, VisionSettings
from vision.types import Backend
from vision.vocabulary import Vocabulary, vocabulary_of

OWN_BACKENDS = ("mini", "transformers")


def load_backend(settings: VisionSettings) -> Backend:
    """Load the models of ``settings.backend``. Raises ``VisionError`` naming what is missing."""
    if settings.backend == "mini":
        assert settings.mini is not None
        return load_mini(settings.mini)
    if settings.backend == "transformers":
        return load_transformers(settings)
    made = load_plugin(BACKENDS, settings.backend, "vision.backend", OWN_BACKENDS)(settings)
    if not isinstance(made, Backend):
        raise VisionError(
            f"vision.backend {settings.backend!r}: its plug-in returned a {type(made).__name__}, "
            "it must return a vision.types.Backend"
        )
    return made


def check_backend(settings: VisionSettings, height: int, width: int) -> None:
    """What can be known of the models before they are loaded, for images of that size in pixels.

    Raises ``VisionError`` for a model, a device or a plug-in that is not there, or images that the backend cannot read.
    """
    if settings.backend == "mini":
        assert settings.mini is not None
        if (height, width) != (SIDE, SIDE):
            raise VisionError(
                f"vision.backend 'mini' reads images of {SIDE} x {SIDE} pixels, but the model makes {width} x "
                f"{height}: set sampling.height and sampling.width, or another backend"
            )
        load_mini(settings.mini)  # two megabytes: as soon read as checked
    elif settings.backend == "transformers":
        check_transformers(settings)
    else:
        load_plugin(BACKENDS, settings.backend, "vision.backend", OWN_BACKENDS)


def check_transformers(settings: VisionSettings) -> None:
    """Config and files of every model that the settings name, and the device. Raises ``VisionError``."""
    from vision.clip import REGIONS, SCORERS
    from vision.detectors import DETECTORS
    from vision.loading import model_type_of, resolve_device
    from vision.segmenters import SEGMENTERS

    given = settings.transformers
    assert given is not None
    resolve_device(given.device)
    needed = {"detector": DETECTORS, "segmenter": SEGMENTERS}
    if given.tagger == "zero-shot":
        needed["clip"] = SCORERS
    named = {"second_opinion": REGIONS, "judge_clipseg": REGIONS, "judge_clip": SCORERS}
    for field, types in (needed | {field: types for field, types in named.items() if getattr(given, field)}).items():
        model_type_of(given, field, types)
    if given.tagger_plugin:
        load_plugin(TAGGERS, given.tagger_plugin, "vision.transformers.tagger", OWN_TAGGERS)


def load_transformers(settings: VisionSettings) -> Backend:
    """The transformers backend. The judge's models are loaded when an intervention first asks for them.

    Every label of the vocabulary is shown to the detector first, so that one it cannot read stops the study at its
    start. Raises ``VisionError``.
    """
    # Heavy, and of no use to the other backends.
    from vision.clip import ClipJudge, ClipSegOpinion
    from vision.detectors import load_detector
    from vision.segmenters import load_segmenter
    from vision.taggers import load_tagger

    given = settings.transformers
    assert given is not None
    listed = settings.vocabulary or settings.vocabulary_file
    vocabulary = vocabulary_of(settings) if listed else Vocabulary((), ())
    tagger = load_tagger(settings, vocabulary)
    detector = load_detector(given)
    detector.check(vocabulary.labels)
    segmenter = load_segmenter(given)
    opinion = ClipSegOpinion(given) if given.second_opinion else None
    name = f"{detector.loaded.model_type}+{segmenter.loaded.model_type}"
    return Backend(name, tagger, detector, segmenter, ClipJudge(given), opinion)
