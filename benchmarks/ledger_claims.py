"""The rows of the ledger on autoencoders, concepts and layouts: what the paper says before its edits.

To add a row, add a ``Claim`` (``benchmarks/ledger_rules.py`` says what its query returns) and run
``python -m benchmarks.ledger runs/mini``. Numbers of the paper are those of arXiv 2504.15473.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.ledger_rules import ABOVE, Claim, Rule

NEEDS = {
    "A": "the weights, LAION-COCO, a GPU and 2.18 TB for the activations and SAEs of `configs/sd14.yaml`",
    "B": "A, and Grounding DINO, SAM and Word2Vec vectors for labels and layouts",
    "C": "B, and CLIPSeg and CLIP to judge edited images (18,000 global edits and their controls)",
    "D": "C, and what is named in the row: it is not built, or has no control",
}
SAE, CONCEPTS, LAYOUT = "Sparse autoencoders", "The dictionary of concepts", "Predicting layouts"
TIMES = (0.0, 0.5, 1.0)
# Explained variance in percent: (k = 10, k = 20) at t = 0, 0.5 and 1.
EXPLAINED = {
    ("cond", "down"): ((36.6, 44.8), (37.6, 45.1), (51.7, 60.5)),
    ("cond", "mid"): ((50.5, 57.3), (50.9, 57.0), (56.4, 63.3)),
    ("cond", "up"): ((44.0, 52.5), (45.3, 52.9), (57.7, 65.3)),
    ("uncond", "down"): ((36.4, 44.6), (36.9, 44.5), (58.6, 66.9)),
    ("uncond", "mid"): ((50.7, 57.6), (50.8, 57.0), (65.7, 72.6)),
    ("uncond", "up"): ((44.0, 52.5), (45.3, 53.3), (71.4, 77.7)),
}
SCALED_ERROR = {("cond", "down", 0.0): (0.6293, 0.5466), ("uncond", "up", 1.0): (0.2724, 0.2115)}  # k = 10, 20
COHESION = {0.0: (0.664, 0.344), 0.5: (0.639, 0.363), 1.0: (0.588, 0.433)}  # t -> (cohesion, separability)
OF_SEEDS = """
select a.seed as unit, a.{column} as ours, u.{column} as control
from sae_metrics a left join (select * from sae_metrics where kind = 'untrained' and seed = 0) u
  using (block, t, conditioning, k)
where a.kind = 'trained' and a.block = '{block}' and a.t = {t} and a.conditioning = '{conditioning}' and a.k = {k}
"""
OF_SITES = """
with site as (
  select block, t, conditioning, k, avg(explained_variance) as value
  from sae_metrics where kind = 'trained' group by all
) {select}
"""
CONTROLS = """
select a.block || a.conditioning as unit, a.{column} as ours, b.{other} as control
from label_controls a join label_controls b using (block, conditioning, k)
where a.kind = 'trained' and b.kind = '{kind}' and a.t = {t} and b.t = {t_other}
"""
BY_LABEL = """
with scores as (
  select label, block, t, conditioning, iou from layout_scores
  where method = 'concepts' and kind = 'trained' and label not like '*%'
)
select label as unit, avg(a.iou) as ours, avg(b.iou) as control
from scores a join scores b using (label, {same}) where {where} group by label
"""
POOLED = """
select c.iou as ours, c.iou_ci_low as ours_low, c.iou_ci_high as ours_high,
  p.iou as control, p.iou_ci_low as control_low, p.iou_ci_high as control_high,
  d.iou as above, d.iou_ci_low as above_low, d.iou_ci_high as above_high
from layout_scores c join layout_scores p using (block, t, conditioning, k, label)
  join layout_scores d using (block, t, conditioning, k, label)
where c.method = 'concepts' and p.method = '{baseline}' and d.method = 'concepts - {baseline}' and c.kind = 'trained'
  and p.kind = 'trained' and d.kind = 'trained' and label = '*' and block = 'mid' and t = 1 and conditioning = 'cond'
qualify row_number() over (order by k) = 1
"""


def claims() -> tuple[Claim, ...]:
    """All rows of these sections, in the order of the page."""
    return (*_storage(), *_explained(), *_scaled_error(), *_of_saes(), *_embeddings(), *_of_concepts(), *_layouts())


def _storage() -> Iterator[Claim]:
    text = "200,000 prompts in float16: bytes of a down or up site, of a mid site, of all 18"
    yield Claim("What is recorded", text, "131 GB, 33 GB, 1.77 TB", "A", because="a count of bytes, not a measurement")


def _explained() -> Iterator[Claim]:
    for (conditioning, block), values in EXPLAINED.items():
        for t, of_k in zip(TIMES, values, strict=True):
            for k, percent in zip((10, 20), of_k, strict=True):
                query = OF_SEEDS.format(column="explained_variance", block=block, t=t, conditioning=conditioning, k=k)
                yield Claim(
                    SAE,
                    f"Variance explained in %: {conditioning} {block}, t = {t:g}, k = {k}",
                    f"{percent}",
                    "A",
                    Rule("number", percent),
                    query,
                    against="no training",
                    because="the study has no SAE of this k",
                    student=True,
                    scale=100,
                    digits=1,
                )


def _scaled_error() -> Iterator[Claim]:
    for (conditioning, block, t), of_k in SCALED_ERROR.items():
        for k, error in zip((10, 20), of_k, strict=True):
            yield Claim(
                SAE,
                f"Scaled error: {conditioning} {block}, t = {t:g}, k = {k}",
                f"{error:.4f}",
                "A",
                Rule("number", error),
                OF_SEEDS.format(column="fvu", block=block, t=t, conditioning=conditioning, k=k),
                against="no training",
                because="the study has no SAE of this k",
                student=True,
                digits=4,
            )


def _of_saes() -> Iterator[Claim]:
    def compared(text: str, paper: str, select: str, against: str, rule: Rule = ABOVE) -> Claim:
        query = OF_SITES.format(select=select)
        return Claim(SAE, text, paper, "A", rule, query, against, student=True, scale=100, digits=1)

    of_times = (
        "select a.block || a.conditioning as unit, a.value as ours, b.value as control from site a join site b "
        "using (block, conditioning, k) where a.t = {} and b.t = {}"
    )
    of_blocks = (
        "select a.conditioning || a.t as unit, a.value as ours, b.value as control from site a join site b "
        "using (t, conditioning, k) where a.block = '{}' and b.block = '{}' and t < 1"
    )
    yield compared("More variance is explained at t = 1 than at t = 0", "+15 to +27", of_times.format(1, 0), "t = 0")
    yield compared(
        *("As much is explained at t = 0.5 as at t = 0 (within 2 points)", "+0.1 to +1.3", of_times.format(0.5, 0)),
        *("t = 0", Rule("level", 2.0)),
    )
    yield compared("Below t = 1, mid is explained better than up", "+5.5 to +6.7", of_blocks.format("mid", "up"), "up")
    yield compared(
        "Below t = 1, up is explained better than down", "+7.4 to +8.4", of_blocks.format("up", "down"), "down"
    )
    yield compared(
        "At t = 1, uncond is explained better than cond",
        "+6.9 to +13.7",
        "select a.block as unit, a.value as ours, b.value as control from site a join site b using (block, t, k) "
        "where t = 1 and a.conditioning = 'uncond' and b.conditioning = 'cond'",
        "cond",
    )
    yield compared(
        "k = 20 explains more than k = 10",
        "+6.1 to +8.8",
        "select block || t || conditioning as unit, a.value as ours, b.value as control from site a join site b "
        "using (block, t, conditioning) where a.k = 20 and b.k = 10",
        "k = 10",
    )
    yield from _same_cid()
    text = "An SAE takes 1 h at down and up, 20 min at mid"
    yield Claim(SAE, text, "1 h, 20 min", "A", because="one RTX A6000 on SD v1.4's activations")


def _same_cid() -> Iterator[Claim]:
    chosen = "from concept_matches where kind = 'trained' and chosen_by = 'cosine' and mutual"
    yield Claim(
        SAE,
        "A CID keeps its meaning in SAEs trained apart at other times: share of mutual partners with the same CID",
        "CID 1722 is a cartoon at t = 1, 0.5 and 0",
        "A",
        ABOVE,
        f"""select m.unit, m.ours, c.chance as control
        from (select block || conditioning || t_from as unit, block, conditioning, k, t_to as t,
          avg((cid_from = cid_to)::int) as ours {chosen} group by all) m
        join (select block, conditioning, k, t, 1.0 / count(*) as chance from concepts group by all) c
          using (block, conditioning, k, t)""",
        against="one in as many as there are concepts",
        student=True,
    )
    yield Claim(
        SAE,
        "... and such partners are closer (cosine) than those in an SAE of the other time and another start",
        "not asked",
        "A",
        ABOVE,
        "select block || conditioning || t_from as unit, avg(cosine) as ours, avg(cosine_other_seed) as control "
        f"{chosen} and cosine_other_seed is not null group by 1",
        against="the other start's partner",
        student=True,
    )


def _embeddings() -> Iterator[Claim]:
    for number, (name, spread) in enumerate(
        (("cohesion", (0.182, 0.170, 0.169)), ("separability", (0.159, 0.154, 0.169)))
    ):
        for (t, values), deviation in zip(COHESION.items(), spread, strict=True):
            yield Claim(
                CONCEPTS,
                f"Mean {name} of concepts, t = {t:g}",
                f"{values[number]:.3f} (deviation {deviation:.3f})",
                "B",
                Rule("number", values[number]),
                CONTROLS.format(column=name, other=name, kind="shuffled_positions", t=t, t_other=t),
                against="masks moved",
                because="other vectors: a number depends on the embedder",
                setting=("labels.embedder", "word2vec"),
                student=True,
                digits=3,
            )


def _of_concepts() -> Iterator[Claim]:
    for text, paper, column, t, t_other in (
        ("Concepts cohere more at t = 0 than at t = 1", ".664 against .588", "cohesion", 0, 1),
        ("Concepts lie closer together at t = 1 than at t = 0", ".433 against .344", "separability", 1, 0),
    ):
        query = CONTROLS.format(column=column, other=column, kind="trained", t=t, t_other=t_other)
        against = f"t = {t_other}"
        yield Claim(CONCEPTS, text, paper, "B", ABOVE, query, against, student=True, digits=3)
    yield Claim(
        CONCEPTS,
        "Concepts have labels: mean held-out IoU of the labels that are carried",
        "examples shown",
        "B",
        ABOVE,
        CONTROLS.format(column="label_iou", other="label_iou", kind="untrained", t="b.t", t_other="a.t"),
        against="no training",
        student=True,
        digits=3,
    )
    yield Claim(
        CONCEPTS,
        "Some concepts are free of context: variance between images below half of what random places give",
        "examples shown",
        "D",
        query="select cid as unit, (context_free_score < 0.5)::int as ours from concepts where alive "
        "and conditioning = 'cond' and context_free_score is not null",
        because="a share of concepts without a control",
    )
    yield Claim(
        CONCEPTS,
        "Some concepts are global: on in nine tenths of the cells of the images where they fire",
        "examples shown",
        "D",
        query="select cid as unit, (coverage >= 0.9)::int as ours from concepts where alive and conditioning = 'cond'",
        because="a share of concepts without a control",
    )


def _layouts() -> Iterator[Claim]:
    position, noise = (POOLED.format(baseline=baseline) for baseline in ("position", "noise"))
    text = "IoU of predicted and annotated masks: mid, cond, t = 1"
    yield Claim(LAYOUT, text, "about .26", "B", Rule("number", 0.26), position, "the position alone", digits=3)
    text = "... which is above the prior of the position, which looks at no activation"
    yield Claim(LAYOUT, text, "not asked", "B", ABOVE, position, "the position alone", digits=3)
    text = "... and above a probe of the initial noise, which has seen no caption and no model"
    yield Claim(LAYOUT, text, "not asked", "B", ABOVE, noise, "the initial noise", digits=3)
    for text, paper, same, where, against, rule in (
        ("up predicts better than down", "up > down", "t, conditioning", _blocks("up", "down"), "down", ABOVE),
        ("down predicts better than mid", "down > mid", "t, conditioning", _blocks("down", "mid"), "mid", ABOVE),
        (
            *("cond predicts better than uncond", "cond > uncond", "block, t"),
            *("a.conditioning = 'cond' and b.conditioning = 'uncond'", "uncond", ABOVE),
        ),
        (
            *("Layouts are better predicted at t = 0.5 than at t = 1", "rises", "block, conditioning"),
            *("a.t = 0.5 and b.t = 1", "t = 1", ABOVE),
        ),
        (
            *("... and no better at t = 0 than at t = 0.5 (within .03)", "saturated", "block, conditioning"),
            *("a.t = 0 and b.t = 0.5", "t = 0.5", Rule("level", 0.03)),
        ),
    ):
        query = BY_LABEL.format(same=same, where=where)
        yield Claim(LAYOUT, text, paper, "B", rule, query, against, student=True, digits=3)


def _blocks(one: str, other: str) -> str:
    return f"a.block = '{one}' and b.block = '{other}'"
