"""Whether a torch device can be used on this machine."""

from __future__ import annotations

import torch

from diffusion.errors import DiffusionError


def resolve_device(name: str, field: str = "model.device", auto: bool = True) -> torch.device:
    """The torch device of a setting; 'auto' is the GPU if there is one, else the CPU.

    A small sum is computed on it: torch names devices gladly that are not there. Raises ``DiffusionError`` naming
    ``field``; ``auto``: whether the sentence offers it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.ones(2, device=device).sum().item()  # fails for 'meta' as well, which computes nothing
    except Exception as error:  # each device's absence has an exception of its own
        reason = " ".join(str(error).split(". ")[0].split())[:100]
        usable = " or ".join(usable_devices()[not auto :])
        raise DiffusionError(f"{field} {name!r} cannot be used on this machine ({reason}): use {usable}") from error
    # cuDNN rounds the inputs of float32 convolutions to 10 bits unless told not to: float32 is to mean float32, as for
    # the products of matrices. Half precision is there for speed.
    torch.backends.cudnn.allow_tf32 = False
    return device


def usable_devices() -> list[str]:
    """What a device setting may say here, quoted, 'auto' first."""
    gpus = [f"'cuda:{i}'" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    apple = ["'mps'"] if torch.backends.mps.is_available() else []
    return ["'auto'", "'cpu'", *gpus, *apple]
