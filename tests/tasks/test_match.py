"""Partners through time beside those of another seed, from trained SAEs, files and raw activations."""

from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import t as student

from concepts.matching import MEASURES
from sae.io import load_sae
from storage.tables import read_table
from tasks import artifacts
from tasks.match import match_times
from tasks.share import train_shared
from tasks.train import train_site
from tests.tasks.test_train import study


@pytest.fixture(scope="module")
def both_times(tmp_path_factory):
    """The study trained at both its times and on them together."""
    made = study(tmp_path_factory.mktemp("matched"), "sae.k=[2, 4]", "sae.epochs=8")
    for t in (1.0, 0.0):
        train_site(made, ("mid", t, "cond"))
    train_shared(made, "mid", "cond")
    return made


def test_a_second_shared_sae_of_another_seed_is_saved_beside_and_measured(both_times):
    made, homes = both_times, {"": 0, "/seed1": 1}
    rows = read_table(made.root, "sae_metrics", filters=[("kind", "==", "shared")]).to_pylist()
    assert {(row["t"], row["k"], row["seed"]) for row in rows} == {
        (t, k, seed) for t in (1.0, 0.0) for k in (2, 4) for seed in (0, 1)
    }
    for row in rows:
        folder = made.at(("mid", row["t"], "cond")).folder / f"k{row['k']}" / "shared"
        first, second = (load_sae(folder / below) for below in ("", "seed1"))
        cosine = torch.nn.functional.cosine_similarity(first.W_dec[:, None], second.W_dec[None], dim=2).numpy()
        matched = cosine[linear_sum_assignment(cosine, maximize=True)].mean()
        assert row["stability"] == (pytest.approx(matched, abs=1e-5) if row["seed"] else None)
        assert row["steps"] > 0 and row["explained_variance"] > 0.2
    found = {str(p.parent.relative_to(made.root)) for p in Path(made.root, "saes/mid/shared/cond").rglob("log.jsonl")}
    assert found == {f"saes/mid/shared/cond/k{k}{below}" for k in (2, 4) for below in homes}


def test_partners_stand_beside_those_of_the_other_seed(both_times):
    """Cosines and co-activation once more, from the files and the raw activations of both times."""
    made = both_times
    match_times(made, "mid", "cond", 4)
    rows = read_table(made.root, "concept_matches").to_pylist()
    assert rows and all(row[f"{name}_other_seed"] is not None for row in rows for name in MEASURES)
    early, late = (made.at(("mid", t, "cond")) for t in (1.0, 0.0))
    maps = [
        torch.from_numpy(np.concatenate([x for _, x in here.maps("dictionary")]).reshape(-1, 16).astype(np.float32))
        for here in (early, late)
    ]
    for kind, below in (("trained", ""), ("shared", "shared")):
        first, other = load_sae(early.folder / "k4" / below), load_sae(late.folder / "k4" / below / "seed1")
        cosine = torch.nn.functional.cosine_similarity(first.W_dec[:, None], other.W_dec[None], dim=2).numpy()
        fires = [on_at(sae, x) for sae, x in zip((first, other), maps, strict=True)]
        both = fires[0].T @ fires[1]
        jaccard = both / np.maximum(fires[0].sum(0)[:, None] + fires[1].sum(0)[None] - both, 1)
        alive = np.where(fires[1].sum(0) > 0, cosine, -np.inf)
        partner = {
            "identity": linear_sum_assignment(cosine, maximize=True)[1],
            "cosine": alive.argmax(1),
            "coactivation": jaccard.argmax(1),
        }
        own = [row for row in rows if row["kind"] == kind]
        assert len(own) == (fires[0].sum(0) > 0).sum() * (1 if kind == "shared" else 2)
        for row in own:
            at = (row["cid_from"], partner[row["chosen_by"]][row["cid_from"]])
            assert row["cosine_other_seed"] == pytest.approx(cosine[at], abs=1e-5)
            assert row["coactivation_other_seed"] == pytest.approx(jaccard[at], abs=1e-9)


def on_at(sae, x):
    """Where each latent is on, 0 or 1 [vectors, latents]."""
    values, latents = sae.encode(x)
    return torch.zeros(len(x), sae.n).scatter_(1, latents, (values > 0).float()).numpy()


def test_with_one_seed_partners_have_nothing_beside_them(tmp_path):
    made = study(tmp_path, "sae.seeds=1", "sae.across_time=false")
    for t in (1.0, 0.0):
        train_site(made, ("mid", t, "cond"))
    match_times(made, "mid", "cond", 4)
    rows = read_table(made.root, "concept_matches").to_pylist()
    assert rows and {row[f"{name}_other_seed"] for row in rows for name in MEASURES} == {None}


def test_the_artifact_says_what_sql_says_of_the_table(both_times, monkeypatch):
    """Means by DuckDB, the half-width by its standard deviation and Student's quantile."""
    made, shown = both_times, {}
    for k in (2, 4):
        match_times(made, "mid", "cond", k)
    monkeypatch.setattr(artifacts, "create_table_artifact", lambda table, key, description: shown.update({key: table}))
    artifacts.train_artifacts(made)
    found = {(row["k"], row["chosen_by"]): row for row in shown["tiny-concepts-through-time"]}
    assert len(found) == len(shown["tiny-concepts-through-time"]) == 6
    for measure in MEASURES:
        beyond = f"{measure}::double - {measure}_other_seed::double"
        parts = f"read_parquet('{made.root}/tables/concept_matches/*.parquet')"
        sql = f"select k, chosen_by, count(*), avg({beyond}), stddev_samp({beyond}) from {parts} group by all"
        for k, chosen_by, n, mean, deviation in duckdb.sql(sql).fetchall():
            row, reach = found[k, chosen_by], student.ppf(0.975, n - 1) * deviation / n**0.5
            assert row["n"] == n > 5
            assert (row[f"{measure}_beyond"], row[f"{measure}_ci_low"], row[f"{measure}_ci_high"]) == pytest.approx(
                (mean, mean - reach, mean + reach), abs=1e-4
            )
