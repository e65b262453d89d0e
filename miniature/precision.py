"""bfloat16 where the processor multiplies it; else float32, which it then does four times as fast."""

from __future__ import annotations

import torch


def in_bfloat16(enabled: bool = True) -> torch.autocast:
    """A context in which the CPU's products are made in bfloat16, if it can and ``enabled`` says so."""
    return torch.autocast("cpu", torch.bfloat16, enabled=enabled and multiplies_bfloat16())


def multiplies_bfloat16() -> bool:
    """Whether oneDNN has bfloat16 for this processor: on x86 that takes AVX-512."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
