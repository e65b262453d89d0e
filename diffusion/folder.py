"""What a model must be, told from its folder's file names, configs and headers: no weight is read.

Configs are taken as mappings, so that a folder's JSON and a loaded module's ``config`` are judged by the same rules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusion.digest import WEIGHTS, check_path, is_local
from diffusion.errors import DiffusionError
from diffusion.settings import SamplingSettings
from diffusion.weights import check_weights

Config = Mapping[str, Any]

CLASSES = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}
TEXT_MODELS = ("clip_text_model", "clip")
# What a U-Net of Stable Diffusion leaves empty: with any of these it asks for inputs besides time and caption.
FURTHER_INPUTS = (
    "class_embed_type",
    "num_class_embeds",
    "addition_embed_type",
    "encoder_hid_dim",
    "time_cond_proj_dim",
)
TOKENIZER_FILES = (("vocab.json", "merges.txt"), ("tokenizer.json",))
WHOLE = "it must be a whole diffusers folder (unet, vae, text_encoder, tokenizer, scheduler)"
LONGEST = 100_000  # a tokenizer without a length of its own says 10^30


def check_folder(path: str) -> None:
    """Raise ``DiffusionError`` naming what a local folder lacks or what in it is damaged. A hub id passes."""
    check_path(path)
    if not is_local(path):
        return
    folder = Path(path)
    configs = {part: read_config(folder / part / "config.json") for part in WEIGHTS}
    read_config(folder / "scheduler" / "scheduler_config.json")
    _check_tokenizer_files(folder / "tokenizer")
    check_fit(configs["unet"], configs["vae"], configs["text_encoder"])
    for part, stem in WEIGHTS.items():
        check_weights(folder / part, stem)


def read_config(path: Path) -> Config:
    """A JSON mapping of a model folder. Raises ``DiffusionError`` if it is missing or is none."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DiffusionError(f"model.path cannot be loaded, {path} is missing: {WHOLE}") from error
    except OSError as error:
        raise DiffusionError(f"{path} cannot be read ({error.strerror}): make it readable") from error
    except ValueError as error:
        raise DiffusionError(f"{path} is damaged ({error}): fetch it again") from error
    if not isinstance(config, dict):
        raise DiffusionError(f"{path} is damaged (a {type(config).__name__}, not a mapping): fetch it again")
    return config


def _check_tokenizer_files(folder: Path) -> None:
    config = read_config(folder / "tokenizer_config.json")
    if not any(all((folder / name).is_file() for name in names) for names in TOKENIZER_FILES):
        raise DiffusionError(f"{folder} has neither vocab.json with merges.txt nor tokenizer.json: {WHOLE}")
    if "model_max_length" not in config:
        raise DiffusionError(
            f"{folder / 'tokenizer_config.json'} has no model_max_length, so nothing says how captions are padded: add "
            "what the model was trained with (77 for Stable Diffusion)"
        )


def check_fit(unet: Config, vae: Config, text: Config) -> None:
    """Raise ``DiffusionError`` unless the three parts make a Stable Diffusion with one CLIP text encoder."""
    for part, config in (("unet", unet), ("vae", vae)):
        if config.get("_class_name", CLASSES[part]) != CLASSES[part]:
            raise DiffusionError(f"{part}/config.json is a {config['_class_name']}: give a model with {CLASSES[part]}")
    if text.get("model_type", TEXT_MODELS[0]) not in TEXT_MODELS:
        raise DiffusionError(f"text_encoder/config.json is a {text['model_type']!r} model: give a model with CLIP's")
    if further := [name for name in FURTHER_INPUTS if unet.get(name) is not None]:
        raise DiffusionError(
            f"unet/config.json sets {', '.join(further)}, so the U-Net asks for more than a time and a caption: give a "
            "model of Stable Diffusion 1 or 2 (no SDXL, no distilled guidance)"
        )
    width = text.get("text_config", text).get("hidden_size")
    _equal("unet's cross_attention_dim", unet.get("cross_attention_dim"), "text_encoder's hidden_size", width)
    for name in ("in_channels", "out_channels"):
        _equal(f"unet's {name}", unet.get(name), "vae's latent_channels", vae.get("latent_channels"))


def _equal(name: str, value: Any, other_name: str, other: Any) -> None:
    if None not in (value, other) and value != other:
        raise DiffusionError(
            f"the model's parts do not fit: {name} is {value} and the {other_name} {other}: give the folder of one "
            "text-to-image model (an inpainting or upscaling U-Net reads more than the noise)"
        )


def check_tokenizer(tokenizer: Any, text: Config) -> None:
    """Raise ``DiffusionError`` unless the tokenizer's words and length are those of the text encoder."""
    config = text.get("text_config", text)
    words, length, places = config["vocab_size"], tokenizer.model_max_length, config["max_position_embeddings"]
    if len(tokenizer) != words:
        raise DiffusionError(
            f"the tokenizer has {len(tokenizer)} tokens and text_encoder/config.json a vocab_size of {words}: they are "
            "not of one model, give the tokenizer folder that belongs to the text encoder"
        )
    if not isinstance(length, int | float):
        raise DiffusionError(
            f"tokenizer/tokenizer_config.json is damaged (its model_max_length is {length!r}): fetch it again"
        )
    if length > LONGEST:
        raise DiffusionError(
            "tokenizer/tokenizer_config.json has no model_max_length, so nothing says how captions are padded: add "
            f"what the model was trained with (at most {places})"
        )
    if not 3 <= length <= places:
        raise DiffusionError(
            f"tokenizer/tokenizer_config.json: model_max_length is {length}, but the text encoder has {places} places "
            "(max_position_embeddings): set the length that the model was trained with"
        )


def native_size(unet: Config) -> tuple[int, int]:
    """Rows and columns of the latent that the U-Net was made for, as diffusers' pipeline takes them."""
    size = unet.get("sample_size")
    if size is None:
        raise DiffusionError("unet/config.json has no sample_size: set sampling.height and sampling.width")
    both = list(size) if isinstance(size, list | tuple) else [size, size]
    if len(both) != 2 or not all(isinstance(side, int) and side > 0 for side in both):
        raise DiffusionError(f"unet/config.json is damaged (its sample_size is {size!r}): fetch it again")
    # A fault of the first releases' configs, which the pipeline puts right.
    old = isinstance(size, int) and size < 64 and _release(unet) < (0, 9)
    return (64, 64) if old else (both[0], both[1])


def _release(config: Config) -> tuple[int, ...]:
    numbers = str(config.get("_diffusers_version", "1.0")).split(".")[:2]
    return tuple(int(n) if n.isdigit() else 0 for n in numbers)


def latent_shape(unet: Config, vae: Config, settings: SamplingSettings) -> tuple[int, int, int]:
    """(channels, rows, columns) of the latent for the settings' image size.

    Raises ``DiffusionError`` if the U-Net cannot halve it at each of its levels: its blocks' cells would then not
    tile the image.
    """
    factor = 2 ** (len(vae["block_out_channels"]) - 1)
    multiple = factor * 2 ** (len(unet["block_out_channels"]) - 1)
    sizes = {"height": settings.height, "width": settings.width}
    native = (0, 0) if None not in sizes.values() else native_size(unet)
    rows_columns = []
    for (name, given), own in zip(sizes.items(), native, strict=True):
        pixels = own * factor if given is None else given
        if pixels % multiple or pixels < multiple:
            said = f"sampling.{name} is" if given is not None else f"the model's own {name} (unet's sample_size) is"
            raise DiffusionError(
                f"{said} {pixels}, but this model's images are multiples of {multiple} pixels: set sampling.{name} to "
                f"{max(round(pixels / multiple), 1) * multiple}"
            )
        rows_columns.append(pixels // factor)
    return int(unet["in_channels"]), rows_columns[0], rows_columns[1]


def image_size(unet: Config, vae: Config, settings: SamplingSettings) -> tuple[int, int]:
    """Height and width in pixels of the images that the settings sample."""
    factor = 2 ** (len(vae["block_out_channels"]) - 1)
    _, rows, columns = latent_shape(unet, vae, settings)
    return rows * factor, columns * factor
