"""The pages name all that there is, and nothing that is not: words, tables, commands, pages, files and floors."""

import re
import runpy
import shlex
import tomllib

import pyarrow as pa

from flows.commands import parser
from storage.schemas import SCHEMAS, WRITERS
from study.config import StudyConfig, load_config
from study.contradictions import refuse_contradictions
from tests import glossary
from tests.paths import ROOT

DOCS = ROOT / "docs"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/*.md")]


def test_every_table_stands_in_the_glossary_with_the_stage_that_writes_it():
    linked = {row[0]: set(re.findall(r"`(\w+)`", row[2])) for row in glossary.rows() if "](tables.md#" in row[0]}
    assert linked == {f"[`{table}`](tables.md#{table})": set(stages) for table, stages in WRITERS.items()}


def test_every_text_column_is_known_to_hold_words_of_the_house_or_not():
    texts = {field.name for schema in SCHEMAS.values() for field in schema if pa.types.is_string(field.type)}
    assert texts == glossary.WORDS | glossary.FREE and not glossary.WORDS & glossary.FREE


def test_no_word_is_defined_twice():
    words = [row[0] for row in glossary.rows() if row[0] not in ("word", "table", "---")]
    singles = [word.strip() for cell in words for word in cell.split(",")]
    assert len(singles) > 100 and len(singles) == len(set(singles))


def test_settings_and_columns_of_the_glossary_exist():
    page = (DOCS / "glossary.md").read_text()
    dotted = {
        name
        for name in re.findall(r"`([a-z_]+\.[a-z_]+)", page)
        if not name.endswith((".yaml", ".parquet", ".zarr", ".safetensors"))
    }
    tables = {f"{table}.{column}" for table, schema in SCHEMAS.items() for column in schema.names}
    groups = {
        f"{group}.{name}" for group, field in StudyConfig.model_fields.items() for name in _names(field.annotation)
    }
    assert len(dotted) > 30 and dotted - tables - groups - {"labels.assign_", "group.name"} == set()


def _names(group: object) -> list[str]:
    return list(getattr(group, "model_fields", {}))


def test_every_command_stands_on_its_page():
    (subcommands,) = [action for action in parser()._actions if action.dest == "command"]
    page = (DOCS / "commands.md").read_text()
    assert [name for name in subcommands.choices if f"`{name}`" not in page and f"`concepts {name}`" not in page] == []


def test_every_page_stands_on_the_map():
    linked = {(DOCS / target).resolve() for target in re.findall(r"\]\(([^)#]+)", (DOCS / "index.md").read_text())}
    pages = {*PAGES, *DOCS.glob("*.ipynb")} - {DOCS / "index.md"}
    assert len(pages) > 15 and [page for page in pages if page not in linked] == []


def test_every_link_to_a_heading_leads_to_one():
    anchors = {page: set(map(_anchor, re.findall(r"^#+ (.+)$", page.read_text(), re.M))) for page in PAGES}
    links = [(page, *link) for page in PAGES for link in re.findall(r"\]\(([\w./]*)#([^)]+)\)", page.read_text())]
    assert len(links) > 20
    assert [
        link for link in links if link[2] not in anchors[(link[0].parent / link[1]).resolve() if link[1] else link[0]]
    ] == []


def _anchor(heading: str) -> str:
    """A heading's name in links, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_file_that_a_page_names_is_there():
    pages = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which tells of files that were
    named = [
        (page, name) for page in pages for name in re.findall(r"`([a-z]\w*/[\w/.]+\.(?:py|md|sh))`", page.read_text())
    ]
    assert len(named) > 60 and [(page.name, name) for page, name in named if not (ROOT / name).is_file()] == []


def test_the_picture_of_the_floors_is_what_the_contracts_say():
    drawn = runpy.run_path(str(DOCS / "images" / "floors.py"))
    found = drawn["contracts"]()
    rooms = {room for floor in found["floors"] for room in floor} | set(found["beside"])
    assert rooms == set(SETTINGS["tool"]["setuptools"]["packages"])
    again = "run: python docs/images/floors.py > docs/images/floors.svg"
    assert drawn["picture"](found) == (DOCS / "images" / "floors.svg").read_text(), again


def test_every_room_has_its_paragraph():
    page = (DOCS / "architecture.md").read_text()
    assert set(re.findall(r"^\*\*`(\w+)/`", page, re.M)) == set(SETTINGS["tool"]["setuptools"]["packages"])


def test_the_quick_starts_trial_is_a_study(monkeypatch):
    monkeypatch.chdir(ROOT)
    page = (DOCS / "stable_diffusion.md").read_text().replace("\\\n", "")
    (command,) = re.findall(r"^concepts check configs/sd14.*$", page, re.M)
    options = parser().parse_args(shlex.split(command)[1:])
    config = load_config(options.config, options.set)
    refuse_contradictions(config)
    assert sum(config.prompts.splits.values()) == 6500 and len(config.sites_list()) == 3
