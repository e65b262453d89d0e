"""The form that Prefect's UI makes of each flow's parameters: titles, help, examples, and what is refused."""

import pytest
from jsonschema import Draft202012Validator

from flows.bench import bench_flow
from flows.forms import known_configs
from flows.stages import FLOWS, OPTIONAL_FLOWS
from flows.whole import study_flow
from study.config import load_config
from tests.paths import ROOT

ALL = [study_flow, *(FLOWS | OPTIONAL_FLOWS).values(), bench_flow]


def schema(flow) -> dict:
    return flow.to_deployment(flow.name)._parameter_openapi_schema.model_dump()


@pytest.mark.parametrize("flow", ALL, ids=lambda flow: flow.name)
def test_every_parameter_has_a_title_in_words_a_help_text_and_an_example_that_fits(flow):
    form = schema(flow)
    assert form["required"] == ["config_path", "root"]
    for name, field in form["properties"].items():
        assert field["title"] != name and field["title"][0].isupper() and len(field["description"]) > 40, name
        for example in field["examples"]:
            Draft202012Validator(field).validate(example)


def test_the_configurations_that_are_there_are_named_and_others_allowed():
    field = schema(study_flow)["properties"]["config_path"]
    assert field["examples"] == known_configs() and "configs/mini.yaml" in field["description"]
    assert "enum" not in field
    for name in known_configs():
        load_config(ROOT / name)


BAD = {
    "root": ["", " ", None, 3],
    "config_path": ["", "\t"],
    "overrides": ["sae.k=3", ["sae.k"], ["=3"], [" =3"], [".k=3"], [3]],
}
GOOD = {"overrides": [None, [], ["sae.k=3"], ["a.b={c: 1, d: 'x=y'}"], ["prompts.source=../data/*.parquet"]]}


def test_what_cannot_be_meant_is_refused_by_the_schema_and_nothing_else():
    fields = schema(study_flow)["properties"]
    for name, values in BAD.items():
        assert [value for value in values if Draft202012Validator(fields[name]).is_valid(value)] == []
    for name, values in GOOD.items():
        assert [value for value in values if not Draft202012Validator(fields[name]).is_valid(value)] == []


def test_plain_calls_and_paths_stay_what_they_were():
    given = {"config_path": "configs/tiny.yaml", "root": "runs/a b/", "overrides": ["sae.k=3"]}
    assert study_flow.validate_parameters(given) == given
