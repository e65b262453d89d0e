"""The training step against a dense reference, the traps of AuxK, and stacks against SAEs trained alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sae.kinds import FROZEN, FROZEN_ENCODER, SOFT_FROZEN
from sae.members import Member, Stack, onto_cone
from sae.selection import select_latents, top_latents
from sae.settings import SAESettings
from sae.step import TrainState, aux_loss, shape_gradients, train_step
from sae.train import learning_rate
from tests.sae.reference import DenseReference
from tests.sae.synthetic import Synthetic

BASE = SAESettings(k=(3,), batch_size=64, lr=3e-3, dead_after_vectors=500, aux_k=8, dead_check_every=1)
VARIANTS = {
    "topk": {},
    "looks every 7 steps": {"dead_check_every": 7},
    "no aux": {"aux_alpha": 0.0},
    "clipped": {"clip": 0.01},
    "batchtopk": {"variant": "batchtopk"},
    "matryoshka": {"matryoshka": (0.25, 0.5, 1.0)},
    "batchtopk matryoshka": {"variant": "batchtopk", "matryoshka": (0.125, 1.0)},
}


def batches(count, d=16, size=64):
    for step in range(count):
        x = Synthetic(d, size, seed=step).x
        yield (x - 0.5) / x.std()


def doubled(stack):
    """The stack in float64."""
    for parameter in stack.parameters():
        parameter.data = parameter.data.double()
    stack.start = stack.start.double()
    return stack


def reference_of(stack, index, settings):
    rows = slice(index * stack.n, (index + 1) * stack.n)
    member = stack.members[index]
    return DenseReference(stack.W_enc[rows].T, stack.W_dec[rows], stack.b[index], member.k, settings, member.kind)


@pytest.mark.parametrize("name", VARIANTS)
def test_two_hundred_steps_equal_the_dense_reference(name):
    """A stack of five SAEs, of two k and with every kind of control, against five plain ones; to 1e-5 (float64)."""
    settings = BASE.model_copy(update=VARIANTS[name])
    held = [Member(3, 64, 0, kind) for kind in (FROZEN, SOFT_FROZEN, FROZEN_ENCODER)]
    stack = doubled(Stack(16, [Member(3, 64, 0), Member(5, 64, 1), *held]))
    state = TrainState(stack, settings)
    references = [reference_of(stack, s, settings) for s in range(5)]
    for step, x in enumerate(batches(200)):
        lr = learning_rate(settings, step, 200)
        seen = train_step(state, x.double(), settings, lr)
        expected = torch.stack([reference.step(x.double(), lr) for reference in references])
        assert torch.allclose(seen.fvu, expected, atol=1e-5)
    for s, reference in enumerate(references):
        rows = slice(s * 64, (s + 1) * 64)
        w_enc, w_dec, b = reference.params
        assert (stack.W_enc[rows].T - w_enc).abs().max() < 1e-5
        assert (stack.W_dec[rows] - w_dec).abs().max() < 1e-5
        assert (stack.b[s] - b).abs().max() < 1e-5
        assert torch.equal(state.since_fired[rows], reference.since_fired)
    if settings.aux_alpha and settings.variant == "topk":
        assert references[0].steps_with_dead > 20, "the comparison must cover AuxK"
    drawn = Stack(16, [Member(3, 64, 0)]).W_dec
    assert torch.allclose(stack.W_dec[128:192].float(), drawn, atol=1e-6), "a frozen decoder moved"
    if settings.variant == "topk" and name != "clipped":  # in the others no row goes so far
        assert references[3].brought_back > 20, "the comparison must cover the cone"


def test_float32_stays_near_the_reference_for_200_steps():
    stack = Stack(16, [Member(3, 64, 0)])
    state, reference = TrainState(stack, BASE), reference_of(stack, 0, BASE)
    for step, x in enumerate(batches(200)):
        lr = learning_rate(BASE, step, 200)
        seen, expected = train_step(state, x, BASE, lr), reference.step(x, lr)
        assert torch.allclose(seen.fvu[0], expected, atol=1e-4)
    assert (stack.W_dec - reference.params[1]).abs().max() < 1e-3


def test_a_stacked_sae_equals_the_one_trained_alone():
    """Float64, so that the order of sums in a wider product does not matter."""
    members = [Member(3, 32, 0), Member(5, 32, 0), Member(3, 32, 1)]
    members += [Member(3, 32, 0, kind) for kind in (FROZEN, SOFT_FROZEN, FROZEN_ENCODER)]
    together = doubled(Stack(16, members))
    alone = [doubled(Stack(16, [member])) for member in members]
    states = [TrainState(stack, BASE) for stack in (together, *alone)]
    for x in batches(60):
        for state in states:
            train_step(state, x.double(), BASE, 3e-3)
    for s, stack in enumerate(alone):
        assert torch.allclose(together.W_enc[s * 32 : (s + 1) * 32], stack.W_enc, atol=1e-9)
        assert torch.allclose(together.W_dec[s * 32 : (s + 1) * 32], stack.W_dec, atol=1e-9)


@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([1e-3, 3e-2, 0.3]))
@hypothesis_settings(max_examples=40, deadline=None)
def test_no_row_of_a_soft_frozen_decoder_leaves_the_cone(seed, steps, lr):
    """After any steps, however long; and what never moves of each control is as it was drawn, bit for bit."""
    held = [Member(3, 32, seed, kind) for kind in (FROZEN, SOFT_FROZEN, FROZEN_ENCODER)]
    stack = Stack(16, [Member(3, 32, seed), *held])
    drawn, state = Stack(16, stack.members), TrainState(stack, BASE)
    for x in batches(steps):
        train_step(state, x, BASE, lr)
    assert torch.equal(stack.start, drawn.W_dec)
    cosine = (stack.W_dec * stack.start).sum(1).view(4, 32)
    assert cosine[2].min() > 0.8 - 1e-6
    assert (lr < 0.3) or cosine[0].min() < 0.8, "the steps must be long enough for the cone to matter"
    assert torch.allclose(stack.W_dec.norm(dim=1), torch.ones(128), atol=1e-5)
    assert torch.equal(stack.W_enc[stack.rows(3)], drawn.W_enc[stack.rows(3)])
    assert not stack.b[3].any() and stack.b[:3].abs().sum(1).min() > 0
    moved = (stack.W_dec - drawn.W_dec)[stack.rows(3)].abs().max()
    assert moved > 1e-4, "the decoder of a frozen encoder must train"


@given(st.integers(0, 10**6), st.integers(2, 24))
def test_rows_within_the_cone_are_untouched_and_others_go_to_its_nearest_point(seed, d):
    """Against every point of a search: 0.8 to the start, unit, and no unit row of the cone is nearer to the old one."""
    generator = torch.Generator().manual_seed(seed)
    start, rows, tries = (torch.randn(40, d, generator=generator).double() for _ in range(3))
    start, rows, across = (v / v.norm(dim=1, keepdim=True) for v in (start, start + rows, tries))
    kept = onto_cone(rows, start)
    cosine, inside = (kept * start).sum(1), (rows * start).sum(1) >= 0.8
    assert torch.equal(kept[inside], rows[inside])
    assert torch.allclose(cosine[~inside], torch.full_like(cosine[~inside], 0.8))
    assert torch.allclose(kept.norm(dim=1), torch.ones(40).double())
    across = across - (across * start).sum(1, keepdim=True) * start
    other = 0.8 * start + 0.6 * across / across.norm(dim=1, keepdim=True)
    assert ((kept * rows).sum(1) >= (other * rows).sum(1) - 1e-9)[~inside].all()


def test_a_frozen_encoder_counts_in_no_norm():
    """The norm that is clipped, and the gradients left, are those of the decoder alone."""
    stack = Stack(16, [Member(3, 32, 0, FROZEN_ENCODER), Member(3, 32, 0)])
    for parameter in stack.parameters():
        parameter.grad = torch.randn_like(parameter)
    norms = shape_gradients(stack, clip=2.0)
    assert norms[0] > 2 and stack.W_dec.grad[:32].norm() == pytest.approx(2.0, rel=1e-4)
    assert not stack.W_enc.grad[:32].any() and not stack.b.grad[0].any()
    assert norms[1] > norms[0] and stack.W_enc.grad[32:].any() and stack.b.grad[1].any()


def test_concept_vectors_stay_unit_and_their_gradient_is_orthogonal_and_clipped():
    stack = Stack(16, [Member(3, 32, 0), Member(3, 32, 1)])
    state = TrainState(stack, BASE)
    for x in batches(5):
        train_step(state, x, BASE, 1e-2)
    assert torch.allclose(stack.W_dec.norm(dim=1), torch.ones(64), atol=1e-5)
    for parameter in stack.parameters():
        parameter.grad = torch.randn_like(parameter)
    stack.W_dec.grad[:32] *= 100
    before = [stack.W_enc.grad.clone(), stack.b.grad.clone()]
    norms = shape_gradients(stack, clip=7.0)
    assert ((stack.W_dec.grad * stack.W_dec).sum(1).abs() < 1e-4).all()
    for s in range(2):
        rows = slice(s * 32, (s + 1) * 32)
        now = torch.cat([stack.W_enc.grad[rows].flatten(), stack.W_dec.grad[rows].flatten(), stack.b.grad[s]])
        assert now.norm() == pytest.approx(7.0, rel=1e-4) and norms[s] > 7
        scale = 7.0 / norms[s]
        assert torch.allclose(stack.W_enc.grad[rows], before[0][rows] * scale, atol=1e-5)


def test_bfloat16_screening_picks_the_same_latents_as_float32():
    torch.manual_seed(0)
    stack, x = Stack(256, [Member(8, 1024, 0), Member(8, 1024, 1)]), torch.randn(300, 256)
    stack.b.data.normal_(std=0.1)
    exact, found = (top_latents(stack, x, 8, precision) for precision in ("float32", "bfloat16"))
    same = (exact[1][..., None] == found[1][:, :, None, :]).any(-1)
    assert same.float().mean() > 0.9995
    assert torch.allclose(exact[0].sort(2).values, found[0].sort(2).values, atol=1e-4)


def test_topk_is_exact_across_blocks_and_when_ks_differ():
    torch.manual_seed(0)
    stack, x = Stack(8, [Member(2, 40, 0), Member(7, 40, 1)]), torch.randn(2500, 8)
    chosen, values = select_latents(stack, x, BASE)
    for s, k in enumerate((2, 7)):
        pre = (x - stack.b[s]) @ stack.W_enc[s * 40 : (s + 1) * 40].T
        mine = chosen.rows_E // 2500 == s
        expected = pre.topk(k, dim=1)
        assert torch.allclose(values[mine].view(2500, k).sort(1).values, expected.values.sort(1).values, atol=1e-5)
        assert torch.equal(
            (chosen.latents_E[mine] - s * 40).view(2500, k).sort(1).values, expected.indices.sort(1).values
        )


class TestAuxK:
    """Ways in which a training step can go wrong without a sign, each on its own."""

    def setup_method(self):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(64, 8, generator=generator)
        self.stack = Stack(8, [Member(2, 32, 1)])
        self.dead = torch.arange(5, 12)

    def gradients(self, **changes):
        settings = BASE.model_copy(update={"clip": 1e9, **changes})
        state = TrainState(self.stack, settings)
        state.since_fired[self.dead] = 10_000
        kept = {}
        original = state.optimizer.step
        state.optimizer.step = lambda: kept.update(
            enc=self.stack.W_enc.grad.clone(), dec=self.stack.W_dec.grad.clone(), b=self.stack.b.grad.clone()
        )
        train_step(state, self.x, settings, 0.0)
        state.optimizer.step = original
        return kept

    def test_it_reaches_encoder_and_decoder_of_dead_latents_and_nothing_of_live_ones(self):
        # Latents that are dead by count but also chosen now would carry the main gradient: leave them out.
        on = torch.unique(select_latents(self.stack, self.x, BASE)[0].latents_E)
        self.dead = self.dead[~torch.isin(self.dead, on)] if len(on) < 32 else self.dead
        with_aux, without = self.gradients(), self.gradients(aux_alpha=0.0)
        for name in ("enc", "dec"):
            change = (with_aux[name] - without[name]).abs().sum(1)
            live = torch.ones(32, dtype=torch.bool)
            live[self.dead] = False
            assert (change[live] < 1e-6).all() and change[self.dead].min() > 1e-5, name

    def test_the_target_is_detached_and_its_sign_is_that_of_the_residual(self):
        error = torch.zeros(32, 4)
        error[:, 0] = torch.linspace(0.5, 1.5, 32)
        x = error.clone()
        along, against = torch.eye(4)[:1], -torch.eye(4)[:1]
        still = torch.ones(1, dtype=torch.bool)
        assert aux_loss(x, along, along, torch.zeros(4), error, still, 1) < 1e-9
        assert aux_loss(x, along, against, torch.zeros(4), error, still, 1) > 1
        leaf = error.clone().requires_grad_()
        loss = aux_loss(x, along.clone().requires_grad_(), along, torch.zeros(4), leaf.detach(), still, 1)
        loss.backward()
        assert leaf.grad is None

    def test_the_bias_is_not_part_of_the_estimate(self):
        """With a bias of 100 and x shifted by as much, the aux loss does not change."""
        x, error = self.x, torch.randn(64, 8, generator=torch.Generator().manual_seed(3))
        enc, dec = self.stack.W_enc[self.dead], self.stack.W_dec[self.dead]
        still = torch.ones(7, dtype=torch.bool)
        plain = aux_loss(x, enc, dec, torch.zeros(8), error, still, 4)
        shifted = aux_loss(x + 100, enc, dec, torch.full((8,), 100.0), error, still, 4)
        assert plain.item() == pytest.approx(shifted.item(), rel=1e-4)

    def test_a_latent_that_fired_since_the_look_is_left_out(self):
        error = torch.randn(64, 8, generator=torch.Generator().manual_seed(3))
        enc, dec, still = self.stack.W_enc[self.dead], self.stack.W_dec[self.dead], torch.ones(7, dtype=torch.bool)
        still[2:] = False
        enough = aux_loss(self.x, enc, dec, torch.zeros(8), error, still, 7)
        only = aux_loss(self.x, enc[:2], dec[:2], torch.zeros(8), error, still[:2], 7)
        assert enough.item() == pytest.approx(only.item(), rel=1e-6)

    def test_dead_is_counted_in_vectors(self):
        for size in (16, 64):
            stack = Stack(8, [Member(1, 32, 0)])
            state = TrainState(stack, BASE)
            x = torch.randn(1, 8).expand(size, 8).contiguous()  # one direction: 31 latents never fire
            for _ in range(640 // size):
                train_step(state, x, BASE, 0.0)
            assert (state.since_fired == 640).sum() == 31 and (state.since_fired == 0).sum() == 1

    def test_it_revives_dead_latents(self):
        """Sixteen latents cannot hold 32 directions; the other 48 are too weak ever to be chosen."""
        settings = BASE.model_copy(update={"dead_after_vectors": 640, "aux_k": 16})
        alive, unexplained = {}, {}
        for alpha in (0.0, 1 / 32):
            stack = Stack(16, [Member(3, 64, 0)])
            stack.W_enc.data[16:] *= 1e-3
            given = settings.model_copy(update={"aux_alpha": alpha})
            state = TrainState(stack, given)
            for x in batches(400):
                seen = train_step(state, x, given, 3e-3)
            alive[alpha], unexplained[alpha] = int((state.since_fired < 640).sum()), float(seen.fvu[0])
        assert alive[0.0] < 20 and alive[1 / 32] > 25, alive
        assert unexplained[1 / 32] < 0.8 * unexplained[0.0], unexplained
