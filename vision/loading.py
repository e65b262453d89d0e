"""Loading models from folders or hub ids, and running them: type, device, precision, and scores that are numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image as PilImage

from vision.errors import VisionError
from vision.settings import TransformersSettings
from vision.types import Image
from vision.weights import check_files, refuse_not_finite, refuse_other_tensors


@dataclass(frozen=True)
class Loaded:
    """A model in eval mode on its device. ``name`` is how errors call it; ``model_type`` is transformers' word."""

    name: str
    model_type: str
    model: Any
    processor: Any = None
    tokenizer: Any = None


def load(
    settings: TransformersSettings,
    field: str,
    types: dict[str, str],
    processor_of: tuple[str, ...] | None = None,
    tokenizer: bool = False,
) -> Loaded:
    """Load the model that ``settings.<field>`` names, by the class that its config.json's model_type calls for.

    ``types`` maps each model_type that fits the field to the transformers class; ``processor_of`` lists those whose
    image processor is loaded too (None: all). Weights are safetensors, float32. Raises ``VisionError`` if the field
    is empty, or names nothing that can be loaded, or a model of another kind, or one whose weights are not whole.
    """
    path = getattr(settings, field)
    name = f"vision.transformers.{field} {path!r}"
    model_type = model_type_of(settings, field, types)
    device = resolve_device(settings.device)
    model, info = _read(
        name,
        getattr(transformers, types[model_type]),
        path,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused below, by name
    )
    refuse_other_tensors(name, info)
    refuse_not_finite(name, model.state_dict().items(), "fetch them anew")
    wanted = processor_of is None or model_type in processor_of
    # PIL's resampling everywhere: results must not depend on whether torchvision happens to be installed.
    processor = _read(name, transformers.AutoImageProcessor, path, backend="pil") if wanted else None
    words = _read(name, transformers.AutoTokenizer, path) if tokenizer else None
    return Loaded(name, model_type, model.eval().to(device), processor, words)


def model_type_of(settings: TransformersSettings, field: str, types: Collection[str]) -> str:
    """The model_type of what ``settings.<field>`` names, told from its config alone.

    Raises ``VisionError`` if the field is empty, if there are no weights that can be read, or for a type that is not
    among ``types``.
    """
    path = getattr(settings, field)
    name = f"vision.transformers.{field} {path!r}"
    if not path:
        raise VisionError(f"vision.transformers.{field} is empty, and this step needs it: give a folder or hub id")
    check_files(name, path)
    model_type = str(_read(name, transformers.AutoConfig, path).model_type)
    if model_type not in types:
        raise VisionError(
            f"{name} is a model of type {model_type!r}, which does not fit: give one of {', '.join(types)}"
        )
    return model_type


def resolve_device(name: str) -> torch.device:
    """The torch device of ``vision.transformers.device``, on which a small sum is computed.

    Torch names devices gladly that are not there. Raises ``VisionError`` for one that cannot be used.
    """
    try:
        device = torch.device(name)
        torch.ones(2, device=device).sum().item()
    except Exception as error:  # each device's absence has an exception of its own
        reason = " ".join(str(error).split(". ")[0].split())[:100]
        raise VisionError(
            f"vision.transformers.device {name!r} cannot be used on this machine ({reason}): use 'cpu'"
            + (" or 'cuda'" if torch.cuda.is_available() else "")
        ) from error
    torch.backends.cudnn.allow_tf32 = False  # float32 convolutions in float32, as on a CPU
    return device


def _read(name: str, reader: Any, path: str, **given: Any) -> Any:
    try:
        return reader.from_pretrained(path, **given)
    except ImportError as error:
        reason = " ".join(str(error).split())[:160]
        raise VisionError(
            f"{name} needs a package that is not installed ({reason}): install it "
            "(for SigLIP: pip install 'concept-atlas[siglip]')"
        ) from error
    except Exception as error:  # the library raises a dozen kinds; all mean the same to the user
        reason = " ".join(str(error).split())[:160]
        raise VisionError(f"{name} cannot be loaded ({reason}): give a whole folder or a reachable hub id") from error


@contextmanager
def running(settings: TransformersSettings, exact: bool = False) -> Iterator[None]:
    """No gradients, and matrix products in ``settings.dtype``, or in float32 where ``exact`` is asked for."""
    dtype = torch.float32 if exact else getattr(torch, settings.dtype)
    mixed = torch.autocast(torch.device(settings.device).type, dtype, enabled=dtype != torch.float32)
    with torch.inference_mode(), mixed:
        yield


def prepared(loaded: Loaded, images: Iterable[Image], **given: Any) -> dict[str, torch.Tensor]:
    """What the model's image processor makes of uint8 images [H, W, 3]; ``given`` overrides its settings."""
    pictures = [PilImage.fromarray(image) for image in images]
    # Without the format, a picture of 1 or 3 pixels' height would be taken for channels.
    return loaded.processor(images=pictures, input_data_format="channels_last", return_tensors="pt", **given)


def numbers(values: torch.Tensor, name: str, what: str) -> np.ndarray:
    """float32 array of the tensor's shape. Raises ``VisionError`` naming the model if any value is NaN."""
    array = values.detach().float().cpu().numpy()
    if np.isnan(array).any():
        raise VisionError(
            f"{name} gives NaN for its {what}: its weights are damaged or overflow vision.transformers.dtype; "
            "fetch them anew or set dtype: float32"
        )
    return array


def refuse_long(loaded: Loaded, texts: dict[str, str], limit: int) -> None:
    """Raise ``VisionError`` for the first label whose text (label -> text) has more than ``limit`` tokens."""
    if not texts:
        return
    for label, ids in zip(texts, loaded.tokenizer(list(texts.values())).input_ids, strict=True):
        if len(ids) > limit:
            raise VisionError(
                f"label {label[:60]!r} is {len(ids)} tokens to {loaded.name}, which reads at most {limit}: shorten it"
            )
