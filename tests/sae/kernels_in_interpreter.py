"""What the Triton kernels must satisfy, on any device; as a module, in Triton's interpreter or with its compiler alone.

    TRITON_INTERPRET=1 python -m tests.sae.kernels_in_interpreter
    python -m tests.sae.kernels_in_interpreter --compile

The variable has to stand before Triton is imported, hence a process of its own. The compiler needs no GPU either.
"""

import itertools
import os
import re
import sys
from contextlib import contextmanager

import torch

from sae import kernels, primitives
from sae.kernels import sddmm_triton, spmm_triton
from sae.members import Member, Stack
from sae.primitives import sddmm, spmm, sum_groups
from sae.settings import SAESettings
from sae.sparse import ByLatent, DecodeAt, EncodeAt, chosen_from_pairs
from sae.step import TrainState, train_step

BAGS = {  # pairs of each bag; bags are cut every 256 pairs
    "even": [20] * 30,
    "uneven, some empty": [0, 0, 3, 17, 0, 250, 1, 0, 40, 0],
    "one huge": [5, 900, 0, 12],
    "ends at cuts": [256, 0, 256, 0, 0, 512, 1],
    "one bag": [300],
    "nothing but empty": [0, 0, 0],
    "no bags": [],
}
WIDTHS = (1, 64, 7, 300)  # 300: one block and a part of one
LOW = {torch.float32: 1e-5, torch.bfloat16: 8e-3, torch.float16: 1e-3}  # rounding of the result


@contextmanager
def through(kernels_run: bool):
    """All of ``sae`` through the kernels, or none of it."""
    original = primitives.by_triton
    primitives.by_triton = lambda *floats: kernels_run
    try:
        yield
    finally:
        primitives.by_triton = original


def close(found, expected, tolerance=1e-5):
    """Relative, and absolute beside the largest value, since terms of a sum may cancel."""
    assert found.shape == expected.shape
    largest = expected.abs().max().item() if expected.numel() else 0.0
    torch.testing.assert_close(found.to(expected.dtype), expected, rtol=tolerance, atol=tolerance * largest)


def check_bags(device):
    """Every layout at widths that blocks do not divide, and the kinds of indices, rows and weights at one."""
    for seed, (name, counts) in enumerate(BAGS.items()):
        for width in WIDTHS[-2:]:
            check_bag(name, counts, width, torch.int64, torch.float32, torch.float32, seed, device)
        check_bag(name, counts, 70, torch.int32, torch.float32, torch.float32, seed, device)
        for rows in (torch.bfloat16, torch.float16):
            for weights in (rows, torch.float32):
                check_bag(name, counts, 70, torch.int64, rows, weights, seed, device)


def check_bag(name, counts, width, index, rows, weights, seed, device):
    """One bag against torch's in float64."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(50, width, generator=generator).to(device, rows)
    at = torch.randint(50, (sum(counts),), generator=generator).to(device, index)
    ends = torch.tensor(counts, dtype=index).cumsum(0, dtype=index)
    offsets = (ends - torch.tensor(counts, dtype=index)).to(device)
    weight = torch.randn(sum(counts), generator=generator).to(device, weights)
    found = spmm_triton(source, at, offsets, weight)
    assert found.dtype == torch.promote_types(rows, weights), name
    if not counts:
        assert found.shape == (0, width)
        return
    with through(False):
        expected = spmm(source.double(), at, offsets, weight.double())
    close(found, expected, LOW[found.dtype])
    if source.is_cuda:
        assert torch.equal(found, spmm_triton(source, at, offsets, weight)), f"{name}: two runs differ"


def check_products(device):
    """Numbers of pairs around the group of 8, widths around the block, and the kinds of indices and rows."""
    for pairs in (0, 1, 8, 21):
        for width in WIDTHS:
            check_product(pairs, width, torch.int64, torch.float32, torch.float32, device)
        check_product(pairs, 70, torch.int32, torch.float32, torch.float32, device)
        check_product(pairs, 70, torch.int64, torch.bfloat16, torch.bfloat16, device)
        check_product(pairs, 70, torch.int64, torch.bfloat16, torch.float32, device)
        check_product(pairs, 70, torch.int64, torch.float16, torch.float16, device)


def check_product(pairs, width, index, left_dtype, right_dtype, device):
    """One set of pairs against torch's in float64."""
    generator = torch.Generator().manual_seed(pairs + width)
    left = torch.randn(9, width, generator=generator).to(device, left_dtype)
    right = torch.randn(30, width, generator=generator).to(device, right_dtype)
    at = [torch.randint(rows, (pairs,), generator=generator).to(device, index) for rows in (9, 30)]
    found = sddmm_triton(left, right, *at)
    assert found.dtype == torch.promote_types(left_dtype, right_dtype)
    with through(False):
        expected = sddmm(left.double(), right.double(), *at)
    close(found, expected, LOW[found.dtype])


def check_layouts_in_memory(device):
    """Columns of a wider matrix, a transposed one, every second index, one weight for all."""
    wide = torch.randn(40, 90, device=device)
    at = torch.randint(40, (60,), device=device)[::2]
    offsets, weight = torch.tensor([0, 11], device=device), torch.full((1,), 0.5, device=device).expand(30)
    for source in (wide[:, 10:60], wide[:, :40].T):
        plain = source.contiguous()
        with through(False):
            close(spmm_triton(source, at, offsets, weight), spmm(plain, at.contiguous(), offsets, weight.contiguous()))
            close(sddmm_triton(source, source, at, at), sddmm(plain, plain, at.contiguous(), at.contiguous()))


def check_encoding_and_decoding(device):
    """Values and all gradients of ``EncodeAt`` and ``DecodeAt``, on rows of any length, against torch's operations."""
    generator = torch.Generator().manual_seed(0)
    stacked, vectors, n, d = 2, 300, 12, 20
    on = torch.rand(stacked * vectors, n, generator=generator) < 0.2
    on[:, 3] = True  # a latent that is on everywhere: more pairs than one program adds
    on[5] = False
    rows, latents = on.nonzero(as_tuple=True)
    latents = latents + rows // vectors * n
    shapes = ((vectors, d), (stacked * n, d), (stacked * n, d), (stacked, d))
    drawn = [torch.randn(*shape, generator=generator).to(device) for shape in shapes]
    chosen = chosen_from_pairs(latents.to(device), rows.to(device), stacked * vectors, vectors, stacked * n)
    weight = torch.randn(stacked * vectors, d, generator=generator).to(device)

    def run(kernels_run):
        x, w_enc, w_dec, b = (tensor.clone().requires_grad_() for tensor in drawn)
        order = ByLatent.of(chosen)
        with through(kernels_run):
            values = EncodeAt.apply(x, w_enc, b, chosen, order, None)
            made = DecodeAt.apply(values, w_dec, chosen, order)
            (made * weight).sum().backward()
        return values.detach(), made.detach(), x.grad, w_enc.grad, w_dec.grad, b.grad

    for found, expected in zip(run(True), run(False), strict=True):
        close(found, expected)


def one_step(device, precision="float32", by_triton=None):
    """The loss and the weights after one training step of two SAEs; dead latents, so AuxK, included."""
    settings = SAESettings(k=(4,), batch_size=64, precision=precision, dead_after_vectors=100, aux_k=8, adam_eps=1e-3)
    # Adam's first step is the sign of a gradient unless eps is large: then a rounding would turn a step around.
    stack = Stack(40, [Member(4, 48, 0), Member(6, 48, 1)], device)
    state = TrainState(stack, settings)
    state.since_fired[::5] = 1000
    x = torch.randn(64, 40, generator=torch.Generator().manual_seed(2)).to(device)
    before = stack.W_enc.detach().clone()
    if by_triton is None:
        seen = train_step(state, x, settings, 1e-2)
    else:
        with through(by_triton):
            seen = train_step(state, x, settings, 1e-2)
    assert (stack.W_enc - before).abs().max() > 1e-3, "the step must be visible"
    return [tensor.detach().cpu() for tensor in (seen.fvu, seen.aux, *stack.parameters())]


def check_training_step(device):
    """One step through the kernels against one through torch's operations."""
    for precision in ("float32", "bfloat16"):
        pairs = zip(one_step(device, precision, True), one_step(device, precision, False), strict=True)
        for found, expected in pairs:
            assert (found - expected).abs().max() < 1e-4


def check_sums_of_groups(device):
    """Groups of any size, none included, one with more numbers than a program adds."""
    generator = torch.Generator().manual_seed(3)
    group = torch.cat([torch.randint(1, 40, (500,), generator=generator), torch.full((700,), 7)])
    group = group[torch.randperm(len(group), generator=generator)].to(device)
    numbers = torch.randn(len(group), generator=generator).to(device)
    order = group.argsort(stable=True)
    offsets = torch.searchsorted(group[order], torch.arange(42, device=device))
    with through(True):
        found = sum_groups(numbers, group, order, offsets)
    expected = torch.stack([numbers[group == m].double().sum() for m in range(42)])
    assert expected[0] == expected[41] == 0
    close(found, expected)


CHECKS = (
    check_bags,
    check_products,
    check_layouts_in_memory,
    check_sums_of_groups,
    check_encoding_and_decoding,
    check_training_step,
)


def compile_all():
    """Each kernel to machine code of two generations of GPUs: what the interpreter does not see, such as types."""
    from triton import compile as build
    from triton.backends.compiler import GPUTarget

    for kernel in (kernels._sddmm_kernel, kernels._carried_kernel, kernels._spmm_kernel):
        for rows, index, capability in itertools.product(("fp32", "bf16"), ("i32", "i64"), (80, 90)):
            made = build(
                source_of(kernel, rows, index), GPUTarget("cuda", capability, 32), {"num_warps": kernels.WARPS}
            )
            assert made.asm["cubin"]
            reads = re.search(r"ld\.global[\w.:]*\.v4", made.asm["ptx"])
            assert reads, f"{kernel.__name__} for sm_{capability} does not read 16 bytes at a time"


def source_of(kernel, rows, index):
    """What Triton's compiler takes, for rows and indices of these types, and strides and addresses as at width 1280."""
    from triton.compiler import ASTSource

    constants = {"CUT": kernels.CUT, "PAIRS": kernels.PAIRS, "BLOCK": kernels.BLOCK}
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    pointers = {"left": rows, "right": rows, "source": rows, "weights": "fp32", "carried": "fp32", "out": "fp32"}
    pointers |= {"at": index, "left_at": index, "right_at": index, "offsets": index, "bags": "i64"}
    types = dict.fromkeys(kernel.arg_names, "i32") | {name: f"*{held}" for name, held in pointers.items()}
    types |= dict.fromkeys(constants, "constexpr")
    signature = {name: types[name] for name in kernel.arg_names}
    aligned = [i for i, name in enumerate(signature) if name not in constants and not name.startswith("n_")]
    return ASTSource(kernel, signature, constants, {(i,): [["tt.divisibility", 16]] for i in aligned})


def main():
    """Run every check; the first failure raises."""
    if "--compile" in sys.argv:
        compile_all()
        return
    assert os.environ.get("TRITON_INTERPRET") == "1", "set TRITON_INTERPRET=1"
    for check in CHECKS:
        check("cpu")


if __name__ == "__main__":
    main()
