"""What a user can get wrong in a configuration or on the command line: exit code 2, one sentence, nothing written."""

import contextlib
import subprocess
import sys

import pytest
import yaml

from flows.cli import main
from storage.errors import StorageError
from tests.paths import ROOT

TINY = ROOT / "configs" / "tiny.yaml"


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Runs a command, in this process and in a folder of its own, and gives the one line that it says."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, command="run", config=TINY, root="study"):
        before = sorted(tmp_path.rglob("*"))
        try:
            code = main([command, str(config), "--root", str(tmp_path / root), *arguments])
        except SystemExit as end:  # argparse's own way
            code = end.code
        said = capsys.readouterr()
        assert code == 2 and said.out == ""
        assert said.err.startswith("concepts: ") and said.err.count("\n") == 1 and len(said.err) < 700, said.err
        assert sorted(tmp_path.rglob("*")) == before
        return said.err

    return run


def settings(*pairs):
    return [part for pair in pairs for part in ("--set", pair)]


WRONG = {
    # not YAML, or YAML with a meaning of its own
    "sae.k=[1": "--set 'sae.k=[1' is not valid YAML (line 1, column 3",
    "name='a": "is not valid YAML",
    "name=a: b: c": "is not valid YAML",
    "name=&a": "YAML gives '&' a meaning of its own",
    "name=@x": "put the value in quotes, as in --set \"name='@x'\"",
    "prompts.source=*.parquet": "put the value in quotes",
    "sae.k=!!python/object:os.system x": "YAML",
    "sae={k: [4], k: [5]}": "'k' is given twice",
    "vision.plugin={a: &a [*a]}": "contains itself",
    "vision.plugin=" + "[" * 500: "nested too deeply",
    "name=\udcff": "is not UTF-8",
    "sae.k=[4]\n---\n[5]": "expected a single document",
    "1": "is not of the form key.sub=value",
    "": "is not of the form",
    "=3": "is not of the form",
    "sae..k=3": "is not of the form",
    ".sae=3": "is not of the form",
    "sae.=3": "is not of the form",
    "seed.x=3": "'seed' holds a number, not a group of settings",
    "sae.k.0=3": "'k' holds a list, not a group",
    # misspelt, at every depth
    "smapling.steps=4": "unknown key 'smapling'; did you mean 'sampling'?",
    "sae.batchsize=4": "unknown key 'sae.batchsize'; did you mean 'batch_size'?",
    "vision.mini.min_aera=0.1": "unknown key 'vision.mini.min_aera'; did you mean 'min_area'?",
    "vision.transformers.detecter=x": "did you mean 'detector'?",
    "sae.steps=4": "did you mean 'sampling.steps'?",
    "Seed=4": "did you mean 'seed'?",
    # of another type
    "seed=true": "it must be a whole number, not true or false",
    "seed='7'": "it must be a whole number, not text",
    "seed=7.0": "it must be a whole number: write 7",
    "seed=7.5": "it must be a whole number, not a fraction",
    "seed=1:30": "'seed' is '1:30': it must be a whole number, not text",
    "seed=010": "not text",
    "seed=2020-01-01": "not text",
    "seed=": "'seed' is None: it must be a whole number; to leave it out, drop the whole line",
    "seed=null": "to leave it out, drop the whole line",
    "seed=[1]": "not a list",
    "sae.lr='1e-3'": "it must be a number, not text",
    "sae.k=10": "it must be a list such as [a, b], not a number",
    "sae.k=[true]": "'sae.k.0' is True: it must be a whole number",
    "sae.k={a: 1}": "not a group of settings",
    "sae.expansion=true": "it must be a whole number, not true or false",
    "sae=null": "it must be a group of settings",
    "labels=3": "it must be a group of settings",
    "model=x": "it must be a group of settings",
    "name=3": "'name' is 3: it must be text: put it in quotes",
    "run.tensorboard=on": "it must be true or false",
    "run.tensorboard=1": "it must be true or false",
    "interventions.objects=tree": "it must be a list",
    "interventions.objects=[tree, 3]": "'interventions.objects.1' is 3: it must be text",
    "interventions.objects=[tree, true]": "it must be text",
    "interventions.windows={early: 3}": "it must be a list",
    "interventions.windows={early: [1.0]}": "'interventions.windows.early' lacks an entry",
    "interventions.windows=[a]": "it must be a group",
    "prompts.splits=[1]": "it must be a group",
    "sites.blocks=mid": "it must be a group",
    "model.dtype=float23": "did you mean 'float32'?",
    "sites.conditionings=[conf]": "did you mean 'cond'?",
    'name="a\\nb"': "control characters",
    'prompts.source="a\\0b"': "control characters",
    # numbers that are none, or that nothing holds
    "sae.lr=.nan": "give a finite number",
    "sae.lr=1e400": "give a finite number",
    "prompts.max_punsafe=.nan": "give a finite number",
    "sae.clip=-.inf": "give a finite number",
    "seed=9223372036854775808": "64 bits",
    "seed=" + "9" * 5000: "is no whole number that can be read",
    "seed=5000000000": "the most is 4,000,000,000 (scikit-learn",
    "sae.clip=1e300": "float32 arithmetic overflows",
    "sae.aux_k=4294967296": "more is never counted in a study",
    "sampling.height=7": "the least is 8",
    "sampling.height=0": "the least is 8",
    "sampling.width=-8": "the least is 8",
    "sampling.height=100000": "the most is 2,048",
    "sampling.steps=1001": "it should be less than or equal to 1000",
    "sampling.steps=1000000000": "it should be less than or equal to 1000",
    "prompts.shard_size=1000000000000": "one task holds a whole shard in memory",
    "prompts.splits.train=1000000000000": "the most is 100,000,000",
    "prompts.splits={train: 99999999, dictionary: 9, layout: 9, style: 9}": "100000026 together",
    "labels.bins=1000": "the most is 100",
    "labels.examples_per_concept=100000": "the most is 100",
    "sae.epochs=1000000000": "the most is 100,000",
    "sae.expansion=[1000000000000]": "the most is 1,024",
    "sae.seeds=1000000": "the most is 100",
    "sae.batch_size=1000000000000": "held in memory",
    "sampling.batch_size=1000000000": "held in memory",
    "layout.bootstrap=1000000000": "all resamples are drawn at once",
    "interventions.bootstrap=1000000000": "all resamples are drawn at once",
    "interventions.spatial_strengths=[1000000000]": "float16 overflows",
    "sae.buffer_gb=1.0e+11": "no machine has more memory",
    "run.max_workers=1000000": "each is a thread or a process",
    "run.torch_threads=1000000": "no machine has more cores",
    "run.retries=51": "the wait doubles with each",
    # names
    "name=''": "name is blank",
    "name=' '": "name is blank",
    "sites.conditionings=[cond, cond]": "one of them twice",
    "sites.times=[]": "uses the SAE of t=1.0, but sites.times are []",
    # windows
    "interventions.windows={a: [1.0, 0.6, 1.0]}": "from 1 to 0.6: times fall while an image is made",
    "interventions.windows={a: [-0.1, 0.6, 1.0]}": "times lie in [0, 1]",
    "interventions.windows={a: [0.6, 1.5, 1.0]}": "times lie in [0, 1]",
    "interventions.windows={a: [0.6, 0.6, 1.0]}": "is empty",
    "interventions.windows={a: [0.4, 0.6, 1.0]}": "none of the 4 steps of sampling.steps (their times are 1/3 apart)",
    "interventions.windows={a: [.nan, 0.6, 1.0]}": "give a finite number",
    "interventions.windows={}": "name at least one window",
    # targets that no segment can be labelled
    "interventions.objects=[unicorn]": "the network of vision.mini.path only knows house, tree",
    "interventions.objects=[night]": "'night', which belongs to interventions.styles: move it there",
    "interventions.styles=[tree]": "'tree', which belongs to interventions.objects: move it there",
    "interventions.styles=[plain]": "only knows sketch",
    "interventions.objects=[Tree]": "write 'tree', as there",
    "interventions.objects=[trees]": "write 'tree', as there",
    "interventions.objects=['tree ']": "write 'tree', as there",
    "interventions.objects=[tree, Tree]": "which are one label: remove one of them",
    "interventions.objects=['']": "has a blank entry",
    "vision.mini.path=/nowhere": "/nowhere/config.json is missing",
    # names that become parts of paths
    "sites.blocks={mid: mid_block.attentions.0, ../x: up_blocks.1.attentions.0}": "'../x' cannot be a name",
    "sites.blocks={mid: mid_block.attentions.0, /abs: up_blocks.1.attentions.0}": "sites.blocks: '/abs' cannot be",
    "sites.blocks={mid: mid_block.attentions.0, .: up_blocks.1.attentions.0}": "sites.blocks: '.' cannot be a name",
    "sites.blocks={mid: mid_block.attentions.0, '': up_blocks.1.attentions.0}": "sites.blocks: '' cannot be a name",
    "sites.blocks={mid: mid_block.attentions.0, shared: up_blocks.1.attentions.0}": "'shared' is taken",
    "sites.blocks={mid: mid_block.attentions.0, shared-x: up_blocks.1.attentions.0}": "'shared-x' is taken",
    "sites.blocks={mid: mid_block.attentions.0, Mid: up_blocks.1.attentions.0}": "would be one file",
    "prompts.splits={train: 4, dictionary: 4, layout: 4, style: 4, ../x: 4}": "prompts.splits: '../x' cannot be a name",
    "interventions.windows={../w: [0.6, 1.0, 1.0]}": "interventions.windows: '../w' cannot be a name",
    "name='  '": "name is blank",
}


@pytest.mark.parametrize("given", WRONG, ids=lambda given: ascii(given)[:50])
def test_a_wrong_setting_is_one_sentence_and_writes_nothing(refused, given):
    said = refused(*settings(given))
    assert WRONG[given] in said


WRONG_TARGETS = {
    "interventions.styles=[sepia]": "'sepia': no segment can have a label that vision.vocabulary lacks",
    "interventions.objects=[dogs]": "write 'dog', as there",
    "interventions.objects=[dog, DOG]": "which are one label",
    "vision.vocabulary=[dog, Dog]": "labels 1 and 2 are both",
    "vision.vocabulary=['']": "label 1 is blank",
    "vision.transformers.tagger=fixd": "give 'caption', 'fixed'",
}


@pytest.mark.parametrize("given", WRONG_TARGETS)
def test_targets_are_words_of_the_vocabulary(refused, given):
    assert WRONG_TARGETS[given] in refused(*settings(given), config=ROOT / "configs" / "sd14.yaml")


def test_targets_are_looked_for_in_the_vocabulary_file(refused, tmp_path):
    words = tmp_path / "words.tsv"
    words.write_text("dog\t0.3\nnight\n")
    given = settings("vision.vocabulary=[]", f"vision.vocabulary_file={words}", "interventions.objects=[dog]")
    said = refused(*given, config=ROOT / "configs" / "sd14.yaml")
    assert "interventions.styles has 'cartoon'" in said and "vision.vocabulary_file lacks; it has dog, night" in said


@pytest.mark.parametrize("command", ["collect", "train", "label", "layout", "intervene", "bench", "revise"])
def test_every_command_that_reads_a_configuration_refuses_alike(refused, command):
    assert "did you mean 'k'" in refused("--set", "sae.kk=3", command=command)


def test_one_setting_given_twice(refused):
    assert "--set 'seed=1' and --set 'seed=2' set the same" in refused(*settings("seed=1", "seed=2"))
    assert "set the same" in refused(*settings("sae.k=[3]", "sae={}"))


LAUGHS = [b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 9)]
FILES = {
    "twice": (b"name: a\nname: b\n", "line 2, column 1: 'name' is given twice, first in line 1"),
    "deep": (b"name: a\nsae: {k: [1], k: [2]}\n", "'k' is given twice"),
    "alias": (b"name: &a [*a]\n", "contains itself"),
    "laughs": (b"a0: &a0 [x, x]\n" + b"".join(LAUGHS), "aliases followed, which no settings need"),
    "latin1": ("name: caf\xe9\n".encode("latin-1"), "line 1 holds byte 0xe9, which is not UTF-8"),
    "binary": (b"\x89PNG\r\n\x1a\n\0\0", "is not valid YAML"),
    "zeros": (b"name: a\0\n", "zero bytes"),
    "empty": (b"", "holds no settings"),
    "comment": (b"# nothing\n", "holds no settings"),
    "list": (b"- 1\n", "must hold a mapping of settings at its top level, not a list"),
    "word": (b"mini\n", "not text"),
    "key": (b"1: 2\n", "the key 1 is not text"),
    "keyless": (b"? [a]\n: 2\n", "the key (a sequence) is not text"),
    "tab": (b"sae:\n\tk: [3]\n", "line 2, column 1"),
    "tag": (b"name: !!python/name:os.system ''\n", "has no meaning in settings"),
    "huge": (b"#" * (9 << 20), "which no settings need"),
    "missing": (b"name: a\n", "'model' is missing: add it"),
    "group": (TINY.read_bytes() + b"\n---\n", "single document"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_holds_no_settings_is_one_sentence(refused, tmp_path, name):
    data, says = FILES[name]
    path = tmp_path / f"{name}.yaml"
    path.write_bytes(data)
    said = refused(config=path)
    assert says in said and path.name in said


def test_a_configuration_that_is_no_file(refused, tmp_path):
    assert "no configuration file" in refused(config=tmp_path / "none.yaml")
    assert "Is a directory" in refused(config=tmp_path)
    assert "is not a file that can be read twice" in refused(config="/dev/zero")
    assert "cannot be read" in refused(config=tmp_path / ("x" * 300))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_that_say_their_encoding_are_read(encoding, tmp_path):
    from study.config import load_config

    raw = yaml.safe_load(TINY.read_text())
    raw |= {"name": "Größe 図", "model": {"path": str(ROOT / "miniature" / "weights" / "sd-mini")}}
    raw["vision"]["mini"] = {"path": str(ROOT / "miniature" / "weights" / "scene-vision")}
    (tmp_path / "a.yaml").write_bytes(yaml.safe_dump(raw, allow_unicode=True).encode(encoding))
    assert load_config(tmp_path / "a.yaml").name == "Größe 図"


def test_a_mistake_is_told_before_anything_heavy_is_imported():
    """5.8 s of diffusers, torch and Prefect once stood before the sentence."""
    code = (
        "import sys; from flows.cli import main\n"
        f"assert main(['run', {str(TINY)!r}, '--root', '/nowhere/study', '--set', 'sae.kk=3']) == 2\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'prefect', 'zarr', 'scipy', 'pandas', 'dask', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("root", "says"),
    [
        ("", "'' is no folder's name"),
        (" ", "is no folder's name"),
        (".", "is not empty (notes.txt) and holds no study"),
        ("/", "is not empty"),
        ("notes.txt", "is a file"),
        ("s3://bucket/study", "a study's folder is a local one"),
    ],
)
def test_a_root_that_is_no_folder_for_a_study_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, capsys, root, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    for command in ("run", "collect"):
        with contextlib.suppress(SystemExit):  # argparse's own way
            assert main([command, str(TINY), "--root", root]) == 2
        assert says in capsys.readouterr().err and [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_flow_is_no_more_easily_led_astray_than_the_command_line(tmp_path, monkeypatch):
    from flows.common import stage

    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    for root in ("", "."):
        said = "give (the study's folder|a folder of its own)"
        with pytest.raises(StorageError, match=said), stage("collect", str(TINY), root, None):
            pass
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
