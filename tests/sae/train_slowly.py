"""Train in a process of its own, so that a test can kill it.

``python -m tests.sae.train_slowly`` imports torch once and reads lines ``FOLDER[<tab>STEP]``. For each it forks one
that trains, and writes its exit code. With a step, it kills itself (-9) inside that step's work, at a point that
the step picks: before the update, between the tensors and the commit of a checkpoint, or after it.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import torch
from safetensors.torch import save_file

import sae.checkpoint
import sae.train
from sae.checkpoint import RunPaths
from sae.kinds import FROZEN, FROZEN_ENCODER, SOFT_FROZEN
from sae.members import Member
from sae.settings import SAESettings
from tests.sae.synthetic import Synthetic, standardised, train_on

SETTINGS = SAESettings(
    k=(3, 5), batch_size=64, lr=3e-3, vectors=9600, axes="principal", dead_after_vectors=500, checkpoint_every=7
)
HELD = [Member(3, 32, 0, kind) for kind in (FROZEN, SOFT_FROZEN, FROZEN_ENCODER)]
MEMBERS = [Member(3, 32, 0), Member(5, 32, 0), Member(3, 64, 0), *HELD]
STEPS = 150


def paths(folder: Path) -> RunPaths:
    """A folder for each member."""
    return RunPaths(folder / "checkpoint.json", {m: folder / f"member{i}" for i, m in enumerate(MEMBERS)})


def die() -> None:
    """As kill -9 would."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(step: int) -> None:
    """Die at ``step``: in the training step, or in the next checkpoint when its turn comes to write."""
    train_step, write = sae.train.train_step, sae.checkpoint.write_atomic
    writes_left = [1 + step % 5]

    def stepping(state, *rest):
        if state.step == step and step % 3 == 0:
            die()
        return train_step(state, *rest)

    def writing(path, data):
        number = int(path.stem.split("-")[1]) if path.name.startswith("step-") else None
        if number is not None and number >= step and step % 3 != 0:
            writes_left[0] -= 1
            if writes_left[0] == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.with_name(f".{path.name}.tmp").write_bytes(data[: len(data) // 2])
                die()
        write(path, data)

    sae.train.train_step, sae.checkpoint.write_atomic = stepping, writing


def main(folder: Path, *step: str) -> None:
    """Train to the end, or to the step."""
    torch.set_num_threads(1)
    if step:
        arm(int(step[0]))
    held_out = standardised(Synthetic(16, 640, 5)).batches(320, 0, 0)
    result = train_on(Synthetic(16, 3200, 0), SETTINGS, MEMBERS, paths=paths(folder), samples=list(held_out))
    assert result.steps == STEPS
    tensors = {
        f"{i}.{k}": v.contiguous() for i, s in enumerate(result.saes.values()) for k, v in s.state_dict().items()
    }
    curves = [result.logs.curves[member] for member in MEMBERS]
    (folder / "curves.json").write_text(json.dumps(curves), encoding="utf-8")
    save_file(tensors, folder / "final.safetensors")


def code_of_a_fork(folder: str, *step: str) -> int:
    """Exit code of a process that trains; minus the signal that killed it."""
    if process := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    try:
        main(Path(folder), *step)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    for line in sys.stdin:
        print(code_of_a_fork(*line.rstrip("\n").split("\t")), flush=True)
