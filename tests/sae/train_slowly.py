"""Train in a process of its own, so that a test can kill it: ``python -m tests.sae.train_slowly FOLDER PAUSE``."""

import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from sae.settings import SAESettings
from sae.train import train
from tests.sae.synthetic import Synthetic

if __name__ == "__main__":
    folder, pause = Path(sys.argv[1]), float(sys.argv[2])
    torch.set_num_threads(1)
    settings = SAESettings(k=(3,), batch_size=64, lr=3e-3, epochs=3, dead_after_vectors=500, checkpoint_every=7)
    result = train(Synthetic(16, 3200, 0), settings, 3, 0, folder, on_progress=lambda *_: time.sleep(pause))
    save_file({k: v.contiguous() for k, v in result.sae.state_dict().items()}, folder / "final.safetensors")
