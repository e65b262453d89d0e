"""The Triton kernels beside torch's operations: in Triton's interpreter, through its compiler, and on a GPU if any."""

import os
import subprocess
import sys

import pytest
import torch

from benchmarks import step_profile
from sae import kernels, primitives
from tests.paths import ROOT
from tests.sae import kernels_in_interpreter as checks

needs_triton = pytest.mark.skipif(not kernels.available(), reason="Triton is not installed: pip install triton")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


def run_module(*arguments, **variables):
    """A process of its own: whether kernels are interpreted is settled when Triton is imported."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | variables
    command = [sys.executable, "-m", checks.__name__, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@needs_triton
def test_interpreted_kernels_equal_torch():
    run_module(TRITON_INTERPRET="1")


@needs_triton
def test_kernels_compile_for_gpus():
    run_module("--compile")


def test_tensors_on_a_cpu_stay_with_torch():
    row = torch.ones(2, 3)
    assert not primitives.by_triton(row, row)
    at = torch.tensor([1], dtype=torch.int32)
    assert primitives.sddmm(row, row, at, at).tolist() == [3.0]


@needs_triton
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="interpreted kernels run on a CPU")
def test_where_kernels_cannot_start_torch_does_the_work_and_a_warning_says_so():
    kernels.work_on.cache_clear()
    with pytest.warns(UserWarning, match="Triton cannot run kernels on cpu, so torch sums rows"):
        assert not kernels.work_on(torch.device("cpu"))


@needs_triton
@needs_gpu
@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_kernels_on_a_gpu_equal_torch(check):
    check("cuda")


@needs_triton
@needs_gpu
def test_on_a_gpu_the_kernels_are_used_and_do_not_wait_for_it():
    row, at = torch.randn(50, 70, device="cuda"), torch.randint(50, (900,), device="cuda")
    offsets, weights = torch.tensor([0, 0, 700], device="cuda"), torch.randn(900, device="cuda")
    assert primitives.by_triton(row, weights)
    assert not primitives.by_triton(row.double(), weights) and not primitives.by_triton(row.requires_grad_(), weights)
    row = row.detach()
    for mode in ("default", "error"):  # the first time compiles
        torch.cuda.set_sync_debug_mode(mode)
        try:
            primitives.spmm(row, at, offsets, weights)
            primitives.sddmm(row, row, at, at)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@needs_gpu
def test_a_training_step_on_a_gpu_equals_one_on_the_cpu():
    for found, expected in zip(checks.one_step("cuda"), checks.one_step("cpu"), strict=True):
        assert (found - expected).abs().max() < 1e-4


@needs_triton
@needs_gpu
def test_equal_steps_on_a_gpu_end_in_equal_bits():
    assert step_profile.numbers_apart(d=256) == 0
