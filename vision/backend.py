"""Choosing the backend that the settings name."""

from __future__ import annotations

from vision.errors import VisionError
from vision.mini import load_mini
from vision.plugins import BACKENDS, load_plugin
from vision.settings import VisionSettings
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
    name = f"{detector.loaded.kind}+{segmenter.loaded.kind}"
    return Backend(name, tagger, detector, segmenter, ClipJudge(given), opinion)
