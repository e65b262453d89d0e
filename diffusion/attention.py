"""Heat maps of words: how much each position attends to a word's tokens (DAAM, Tang et al. 2022, arXiv 2210.04885).

A block's map of a word is the sum of its cross-attention's probabilities over heads, layers of the block and all steps
from the first to a given time, averaged over the word's tokens; of the half of guidance that reads the caption. DAAM
sums over all blocks and steps; a map that stops at a time, of one block, tells what was there to be read at that site.

Shapes: images B, heads H, positions P, tokens T.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion.model import DiffusionModel, check_blocks
from diffusion.times import step_of_time

Spans = Sequence[tuple[int, int]]  # [start, stop) of a word's mentions, in characters of a caption


def token_positions(model: DiffusionModel, caption: str, spans: Spans) -> list[int]:
    """Where the tokens of the mentions stand in what the text encoder reads, its begin token being 0; none twice.

    Mentions begin and end where words do: there the tokenizer, too, begins anew.
    """
    ends = {end for span in spans for end in span}
    texts = [caption[:end] for end in sorted(ends)]
    counts = [len(ids) - 1 for ids in model.tokenizer(texts, truncation=True).input_ids] if texts else []
    at = dict(zip(sorted(ends), counts, strict=True))  # begin, and the tokens before
    return sorted({position for start, stop in spans for position in range(at[start], at[stop])})


class AttentionMaps:
    """Records the maps of words while images are sampled: ``with maps.attached(model): sample(...)``.

    Nothing that the model computes is changed. No two of the images sampled may have caption and seed in common, since
    these would be sampled as one.
    """

    def __init__(
        self,
        blocks: Mapping[str, str],
        times: Sequence[float],
        steps: int,
        words: Sequence[Mapping[str, Sequence[int]]],
    ) -> None:
        """``words``: of each image, word -> positions of its tokens; ``blocks``: short name -> module path."""
        self.blocks, self.words = blocks, words
        self.taken: dict[tuple[str, float], list[dict[str, np.ndarray]]] = {}
        self._times = {step_of_time(t, steps): t for t in times}
        self._step = -1
        self._sums: dict[str, Tensor] = {}
        self._grids: dict[str, tuple[int, int]] = {}

    @contextmanager
    def attached(self, model: DiffusionModel) -> Iterator[None]:
        """Then ``taken`` has, by block and time, each image's maps: word -> float32 [rows, columns].

        Raises ``DiffusionError`` for a block that the model does not have.
        """
        check_blocks(model, dict(self.blocks))
        unet = model.unet
        handles = [unet.register_forward_pre_hook(self._begin), unet.register_forward_hook(self._end)]
        for name, path in self.blocks.items():
            block: Any = unet.get_submodule(path)
            handles.append(block.register_forward_pre_hook(self._grid_hook(name)))
            hook = self._attention_hook(name)
            layers = [layer.attn2 for layer in block.transformer_blocks]
            handles += [layer.register_forward_pre_hook(hook, with_kwargs=True) for layer in layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _begin(self, _module: Any, _inputs: Any) -> None:
        self._step += 1

    def _end(self, _module: Any, _inputs: Any, _output: Any) -> None:
        if self._step not in self._times:
            return
        for name, sums_BPT in self._sums.items():
            maps = zip(self.words, sums_BPT.cpu(), strict=True)
            self.taken[name, self._times[self._step]] = [
                {word: self._map(name, of_image_PT, at) for word, at in words.items()} for words, of_image_PT in maps
            ]

    def _map(self, name: str, sums_PT: Tensor, positions: Sequence[int]) -> np.ndarray:
        grid = self._grids[name]
        if not positions:
            return np.zeros(grid, np.float32)
        return sums_PT[:, list(positions)].mean(1).reshape(grid).numpy()

    def _grid_hook(self, name: str) -> Any:
        def hook(_module: Any, inputs: Any) -> None:
            self._grids[name] = (inputs[0].shape[2], inputs[0].shape[3])

        return hook

    def _attention_hook(self, name: str) -> Any:
        def hook(module: Any, inputs: Any, given: Any) -> None:
            states, text = (half.chunk(2)[1] for half in (inputs[0], given["encoder_hidden_states"]))
            known = self._sums.get(name)
            attended = cross_attention(module, states, text, given.get("attention_mask"))
            self._sums[name] = attended if known is None else known + attended

        return hook


@torch.inference_mode()
def cross_attention(module: Any, states: Tensor, text: Tensor, mask: Tensor | None = None) -> Tensor:
    """Probabilities of an attention layer, summed over heads, float32 [B, P, T]: what its own processor computes.

    ``states`` are [B, P, channels], ``text`` [B, T, width].
    """
    if module.norm_cross:
        text = module.norm_encoder_hidden_states(text)
    mask = module.prepare_attention_mask(mask, text.shape[1], len(text))
    query, key = (module.head_to_batch_dim(x) for x in (module.to_q(states), module.to_k(text)))
    scores = module.get_attention_scores(query, key, mask)
    return scores.float().reshape(len(states), -1, *scores.shape[1:]).sum(1)
