"""The rows of the ledger on edits, and the temporal atlas that goes beyond it.

To add a row, add a ``Claim``, as ``benchmarks/ledger_claims.py`` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from benchmarks.ledger_rules import ABOVE, BELOW, Claim, Rule

SPATIAL, GLOBAL, READING = "Edits that place an object", "Edits of the whole picture", "When what is decided"
WINDOWS = ("early", "middle", "final")
PLACED = {"early": (0.80, "t = 1"), "middle": (0.35, "t = 0.5"), "final": (0.23, "t = 0")}
# Window -> the mean of three concepts, and the three: success, rise of CLIP's similarity, LPIPS.
ROSE = {"early": (0.69, ".77 .58 .73"), "middle": (0.93, ".94 .96 .88"), "final": (0.78, ".85 .73 .76")}
RISE = {
    "early": (0.0073, ".010 .003 .009"),
    "middle": (0.0207, ".019 .028 .015"),
    "final": (0.0053, ".007 .004 .005"),
}
DISTANCE = {
    "early": (0.653, ".647 .646 .665"),
    "middle": (0.385, ".379 .407 .369"),
    "final": (0.114, ".114 .094 .133"),
}
RANDOM = "random direction"
AGAINST_RANDOM = """
with edits as (
  select *, (coalesce(similarity_rise, effect) > 0)::int as rose from interventions
  where kind = '{kind}' and "window" = '{window}'
)
select a.prompt_id as unit, a.{value}::double as ours, b.{value}::double as control
from (select * from edits where control = 'none') a
  left join (select * from edits where control = 'random_direction') b using (prompt_id, target, region)
where a.{value} is not null
"""
OF_WINDOWS = """
with edits as (
  select *, (coalesce(similarity_rise, effect) > 0)::int as rose from interventions
  where kind = '{kind}' and control = 'none'
)
select prompt_id as unit, a.{value}::double as ours, b.{value}::double as control
from (select * from edits where "window" = '{one}') a
  join (select * from edits where "window" = '{other}') b using (prompt_id, target, region)
where a.{value} is not null and b.{value} is not null
"""

TAU50_TO_BORDER = """
select tau50 as ours, tau50_ci_low as ours_low, tau50_ci_high as ours_high, 0.6 as control, tau50 - 0.6 as above,
  tau50_ci_low - 0.6 as above_low, tau50_ci_high - 0.6 as above_high
from temporal_onsets where kind = '{kind}' and control = '{control}' and target = '*' and tau50 is not null
  and length = (select max(length) from temporal_onsets)
"""
TAU50_APART = """
select s.tau50 as ours, s.tau50_ci_low as ours_low, s.tau50_ci_high as ours_high, g.tau50 as control,
  g.tau50_ci_low as control_low, g.tau50_ci_high as control_high,
  d.tau50 as above, d.tau50_ci_low as above_low, d.tau50_ci_high as above_high
from temporal_onsets d join temporal_onsets s using (length, control, target)
  join temporal_onsets g using (length, control, target)
where d.kind = 'spatial-global' and s.kind = 'spatial' and g.kind = 'global' and control = 'none' and target = '*'
  and s.tau50 is not null and g.tau50 is not null and length = (select max(length) from temporal_onsets)
"""


def claims() -> tuple[Claim, ...]:
    """All rows of this section, in the order of the page."""
    return (*_spatial(), *_rose(), *_looks(), *_damage(), *_reading(), *_leaks())


def _of_window(section: str, text: str, paper: str, rule: Rule, value: str, window: str) -> Claim:
    kind = "spatial" if section == SPATIAL else "global"
    query = AGAINST_RANDOM.format(kind=kind, window=window, value=value)
    return Claim(section, text, paper, "C", rule, query, against=RANDOM)


def _compared(section: str, text: str, paper: str, value: str, windows: tuple[str, str], rule: Rule = ABOVE) -> Claim:
    kind = "spatial" if section == SPATIAL else "global"
    query = OF_WINDOWS.format(kind=kind, value=value, one=windows[0], other=windows[1])
    return Claim(section, text, paper, "C", rule, query, against=windows[1])


def _spatial() -> Iterator[Claim]:
    for window, (share, t) in PLACED.items():
        text = f"Object's centre in the asked quadrant, {window} window"
        yield _of_window(SPATIAL, text, f"{share:.2f} ({t})", Rule("number", share), "success", window)
    for window, rule, told in (
        ("early", ABOVE, "is above"),
        ("middle", ABOVE, "is above"),
        ("final", Rule("level", 0.1), "is at (within .1)"),
    ):
        text = f"... which {told} a random direction's, {window} window"
        yield _of_window(SPATIAL, text, f"{PLACED[window][0]:.2f} against a nominal .25", rule, "success", window)
    for one, other in pairwise(WINDOWS):
        text = f"{one.capitalize()} edits place objects more often than {other} ones"
        paper = f"{PLACED[one][0]:.2f} > {PLACED[other][0]:.2f}"
        yield _compared(SPATIAL, text, paper, "success", (one, other))
    text = "Early edits keep what they do not touch, middle ones distort it"
    yield Claim(SPATIAL, text, "examples shown", "D", because="needs the places of the objects that are not edited")


def _rose() -> Iterator[Claim]:
    """The paper's own success, that the judge's similarity rose, whose chance level it does not report."""
    for window, (share, each) in ROSE.items():
        text = f"Similarity to the look rose, {window} window"
        yield _of_window(GLOBAL, text, f"{share:.2f} ({each})", Rule("number", share), "rose", window)
    for window, (share, _) in ROSE.items():
        text = f"... which is above a random direction's, {window} window"
        yield _of_window(GLOBAL, text, f"{share:.2f}, chance not reported", ABOVE, "rose", window)
    for other in ("early", "final"):
        text = f"Similarity rose more often after middle edits than after {other} ones"
        paper = f"{ROSE['middle'][0]:.2f} > {ROSE[other][0]:.2f}"
        yield _compared(GLOBAL, text, paper, "rose", ("middle", other))


def _looks() -> Iterator[Claim]:
    """By our rule: the judge finds the look more likely than not."""
    for window, rule, text in (
        ("early", Rule("level", 0.1), "Early edits set no look: found as often (within .1) as along random directions"),
        ("middle", ABOVE, "Middle edits set looks: found more often than along random directions"),
        ("final", Rule("level", 0.1), "Final edits set no look: found as often (within .1) as along random directions"),
    ):
        yield _of_window(GLOBAL, text, "shown", rule, "success", window)


def _damage() -> Iterator[Claim]:
    for window, (mean, each) in RISE.items():
        text = f"Rise of CLIP's similarity, {window} window"
        yield _of_clip(text, f"{mean:.4f} ({each})", Rule("number", mean), "similarity_rise", window)
    text = "CLIP's similarity before the edit"
    yield Claim(GLOBAL, text, "about .20", "C", because="the miniature's judge knows looks, not CLIP's words")
    for window, (mean, each) in DISTANCE.items():
        text = f"LPIPS to the unedited image, {window} window"
        yield _of_clip(text, f"{mean:.3f} ({each})", Rule("number", mean), "lpips", window)
    for one, other in pairwise(WINDOWS):
        text = f"{one.capitalize()} edits change the image more than {other} ones (ours: mean change of pixels)"
        paper = f"LPIPS {DISTANCE[one][0]:.2f} > {DISTANCE[other][0]:.2f}"
        yield _compared(GLOBAL, text, paper, "outside_change", (one, other))
    text = "Early edits change the composition more than middle ones (ours: share of objects that are kept)"
    yield _compared(GLOBAL, text, "examples shown", "objects_kept", ("early", "middle"), BELOW)


def _of_clip(text: str, paper: str, rule: Rule, column: str, window: str) -> Claim:
    """A measured quantity, so its interval is Student's t over prompts."""
    query = AGAINST_RANDOM.format(kind="global", window=window, value=column)
    because = f"no judge of this study gives `{column}`"
    return Claim(GLOBAL, text, paper, "C", rule, query, against=RANDOM, because=because, student=True, digits=3)


def _reading() -> Iterator[Claim]:
    """tau50: the onset (1 is noise) at which success has fallen to half, of the longest edits (docs/temporal.md)."""
    because = "no temporal atlas in this study, or no interval: `concepts atlas` makes it"
    border = "onset of the middle window"
    style = "Looks can still be set in the middle: their tau50 is below 0.6"
    for text, paper, kind, control, rule in (
        ("Places are decided in the first steps: their tau50 is above 0.6", "early alone", "spatial", "none", ABOVE),
        (style, "middle window", "global", "none", BELOW),
        (f"{style}, also by switching the prompt instead", "not asked", "global", "switched_prompt", BELOW),
    ):
        query = TAU50_TO_BORDER.format(kind=kind, control=control)
        yield Claim(READING, text, paper, "C", rule, query, against=border, because=because)
    text = "Layout commits before style: tau50 of places is above that of looks, on the same prompts"
    yield Claim(READING, text, "layout first", "C", ABOVE, TAU50_APART, "looks", because)
    # Further rows of the temporal atlas go here: temporal_onsets, temporal_atlas, causal_traces, concept_causes.


def _leaks() -> Iterator[Claim]:
    for text, why in (
        ("Edits leak around through the skip connections", "an edit that holds the skip connections fixed"),
        ("Edits leak around through the uncond branch", "edits of both halves of guidance beside those of one"),
        ("A diffusion transformer leaks less", "a model without a U-Net"),
    ):
        yield Claim(READING, text, "expected, not shown", "D", because=f"needs {why}")
