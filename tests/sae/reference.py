"""One training step written out densely and plainly, by autograd: what the fast path must equal.

No embedding bag, no sparse gradient, no stack, no closed form; one SAE, [D, M] weights, loops over what is nested.
"""

import torch


class DenseReference:
    """One SAE in training. Weights [D, M], [M, D], [D]; ``since_fired`` [M] counts vectors."""

    def __init__(self, w_enc, w_dec, b, k, settings, kind="trained"):
        self.params = [torch.nn.Parameter(p.detach().clone()) for p in (w_enc, w_dec, b)]
        self.k, self.settings, self.kind = k, settings, kind
        self.start = w_dec.detach().clone()
        self.adam = torch.optim.Adam(self.params, lr=1.0, eps=settings.adam_eps, fused=False, foreach=False)
        self.since_fired = torch.zeros(w_dec.shape[0], dtype=torch.int64)
        self.dead_at_look = torch.zeros(w_dec.shape[0], dtype=torch.bool)
        self.steps = self.steps_with_dead = self.brought_back = 0

    def codes(self, pre):
        if self.settings.variant == "topk":
            top, where = pre.topk(self.k, dim=1)
            return torch.zeros_like(pre).scatter(1, where, top.relu())
        top, where = pre.topk(min(4 * self.k, pre.shape[1]), dim=1)
        capped = torch.full_like(pre, -torch.inf).scatter(1, where, top)
        kept = capped.flatten().topk(self.k * len(pre)).indices
        mask = torch.zeros(pre.numel(), dtype=torch.bool)
        mask[kept] = True
        return torch.where(mask.view_as(pre), pre, 0.0).relu()

    def step(self, x, lr):
        """Returns the share unexplained by all latents."""
        w_enc, w_dec, b = self.params
        if self.steps % self.settings.dead_check_every == 0:
            self.dead_at_look = self.since_fired >= self.settings.dead_after_vectors
        pre = (x - b) @ w_enc
        z = self.codes(pre)
        n, d = w_dec.shape
        losses = []
        for share in self.settings.matryoshka or (1.0,):
            first = round(share * n)
            losses.append((x - z[:, :first] @ w_dec[:first] - b).square().sum() / (len(x) * d))
        loss = torch.stack(losses).mean() + self.settings.aux_alpha * self.aux(x, pre, z)
        self.adam.zero_grad()
        loss.backward()
        with torch.no_grad():
            w_dec.grad -= (w_dec.grad * w_dec).sum(1, keepdim=True) * w_dec
            for held in {"frozen": [w_dec], "frozen_encoder": [w_enc, b]}.get(self.kind, []):
                held.grad.zero_()
            torch.nn.utils.clip_grad_norm_(self.params, self.settings.clip)
            self.adam.param_groups[0]["lr"] = lr
            self.adam.step()
            w_dec /= w_dec.norm(dim=1, keepdim=True)
            for row, start in zip(w_dec, self.start, strict=True) if self.kind == "soft_frozen" else ():
                cosine = row @ start
                if cosine < 0.8:
                    across = row - cosine * start
                    row.copy_(0.8 * start + 0.6 * across / across.norm())
                    self.brought_back += 1
            self.since_fired += len(x)
            self.since_fired[(z > 0).any(0)] = 0
        self.steps += 1
        return losses[-1].detach()

    def aux(self, x, pre, z):
        """AuxK to the letter: detached target, no bias, dead latents alone, relative to the residual's variance."""
        _, w_dec, b = self.params
        dead = self.dead_at_look & (self.since_fired >= self.settings.dead_after_vectors)
        if not dead.any():
            return torch.zeros(())
        self.steps_with_dead += 1
        target = (x - z @ w_dec - b).detach()
        masked = pre.masked_fill(~dead, -torch.inf)
        top, where = masked.topk(min(self.settings.aux_k, int(dead.sum())), dim=1)
        aux_z = torch.zeros_like(pre).scatter(1, where, top.relu())
        variance = (target - target.mean(0)).square().sum(1).mean()
        return (target - aux_z @ w_dec).square().sum(1).mean() / variance
