"""Common parents against all ancestors of random forests; files that are no tree; the scene world; WordNet."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concepts.errors import ConceptError
from concepts.hierarchy import WORDNET, WORDNET_PLACES, common_parent, load_hierarchy, read_parents
from miniature.settings import GROUNDS, STYLES
from miniature.world import LABELS, PARENTS

MINIATURE = Path(__file__).parents[2] / "miniature" / "hierarchy.tsv"
WORDNET_HERE = next((p for p in WORDNET_PLACES if (Path(p) / "data.noun").is_file()), None)


def write(folder, text):
    path = folder / "hierarchy.tsv"
    path.write_text(text)
    return str(path)


def ancestors(label, parents):
    """[(steps up, term)], the label itself at 0."""
    found = [(0, label)]
    while label in parents:
        label = parents[label]
        found.append((len(found), label))
    return found


@settings(max_examples=100, deadline=None)
@given(data=st.data(), n=st.integers(2, 14))
def test_common_parent_is_the_narrowest_of_all_shared_ancestors(tmp_path_factory, data, n):
    """A random forest, in which term i stands below a later one or below none."""
    above = [data.draw(st.one_of(st.none(), st.integers(i + 1, n - 1)) if i + 1 < n else st.none()) for i in range(n)]
    parents = {f"w{i}": f"w{p}" for i, p in enumerate(above) if p is not None}
    if not parents:
        return
    lines = data.draw(st.permutations([f"{c}\t{p}" for c, p in parents.items()]))
    path = write(tmp_path_factory.mktemp("forest"), "\n".join(lines))
    known = sorted(set(parents) | set(parents.values()))
    hierarchy = load_hierarchy(path, known)
    labels = data.draw(st.lists(st.sampled_from([*known, "unheard"]), max_size=4))
    shared = set.intersection(*({t for _, t in ancestors(v, parents)} for v in labels)) if labels else set()
    steps = {term: step for step, term in ancestors(labels[0], parents)} if labels else {}
    best = min(shared, key=lambda term: steps[term], default=None)
    roots = {t for t in known if t not in parents}
    depth = max(len(ancestors(t, parents)) for t in known)
    says_nothing = len(roots) == 1 and depth > 2 and best in roots
    expected = None if len(set(labels)) < 2 or says_nothing else best
    assert common_parent(labels, hierarchy) == expected


def test_one_label_has_no_common_parent_unless_asked(tmp_path):
    hierarchy = load_hierarchy(write(tmp_path, "dog\tanimal\ncat\tanimal\n"), ["dog", "cat", "car", "animal"])
    assert common_parent(["dog"], hierarchy) is None and common_parent(["dog", "dog"], hierarchy) is None
    assert common_parent(["dog"], hierarchy, min_labels=1) == "dog"
    assert common_parent(["dog", "cat"], hierarchy) == "animal"
    assert common_parent(["dog", "animal"], hierarchy) == "animal"
    assert common_parent(["dog", "cat"], hierarchy, min_labels=3) is None
    assert common_parent(["dog", "car"], hierarchy) is None and common_parent([], hierarchy) is None


def test_what_covers_every_label_says_nothing(tmp_path):
    text = "dog\tanimal\ncat\tanimal\ncar\tvehicle\nboat\tvehicle\nanimal\tthing\nvehicle\tthing\n"
    hierarchy = load_hierarchy(write(tmp_path, text), ["dog", "cat", "car", "boat", "sky"])
    assert common_parent(["dog", "cat"], hierarchy) == "animal"
    assert common_parent(["dog", "car"], hierarchy) is None  # the root
    only_animals = load_hierarchy(write(tmp_path, text), ["dog", "cat"])
    assert common_parent(["dog", "cat"], only_animals) is None  # above all labels of the study


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# fine\ndog animal\n", r"hierarchy\.tsv, line 2: 'dog animal' is not a label, one tab"),
        ("dog\t\n", "line 1: .* is not a label, one tab"),
        ("dog\tanimal\tthing\n", "line 1: .* is not a label, one tab"),
        ("dog\tanimal\n\ndog\tpet\n", "line 3: 'dog' has the broader label 'animal' already, so it cannot have 'pet'"),
        ("a\tb\nb\tc\nc\ta\n", "line 3: c < a < b < c goes round in a circle: remove one"),
        ("a\ta\n", "line 1: a < a goes round in a circle"),
        ("fish\tanimal\n", r"knows none of the study's labels \(cat, dog, \.\.\.\): add lines"),
    ],
)
def test_a_file_that_is_no_tree_is_refused(tmp_path, text, message):
    with pytest.raises(ConceptError, match=message):
        load_hierarchy(write(tmp_path, text), ["dog", "cat"])


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ConceptError, match=r"labels\.hierarchy .*missing\.tsv cannot be read \(No such file"):
        load_hierarchy(str(tmp_path / "missing.tsv"), ["dog"])
    (tmp_path / "latin.tsv").write_bytes("caf\xe9\tplace\n".encode("latin-1"))
    with pytest.raises(ConceptError, match=r"latin\.tsv is not text in UTF-8"):
        load_hierarchy(str(tmp_path / "latin.tsv"), ["dog"])


def test_repeated_lines_and_comments_are_no_error(tmp_path):
    assert read_parents(write(tmp_path, "\ufeff# c\ndog\tanimal\n\ndog \t animal\n")) == {"dog": "animal"}


def test_the_scene_worlds_hierarchy_agrees_with_the_world():
    parents = read_parents(MINIATURE)
    assert {child: parent for child, parent in parents.items() if parent not in ("ground", "style")} == PARENTS
    assert {c for c, p in parents.items() if p == "ground"} == set(GROUNDS)
    assert {c for c, p in parents.items() if p == "style"} == set(STYLES)
    hierarchy = load_hierarchy(str(MINIATURE), [*LABELS, *STYLES])
    assert common_parent(["dog", "bird"], hierarchy) == "animal" and common_parent(["dog", "car"], hierarchy) is None


# A WordNet of five nouns in the format of wndb(5); %(...)s are the offsets of its lines.
NOUNS = {
    "entity": ("03", [("entity", "0")], []),
    "animal": ("05", [("animal", "0"), ("beast", "0")], [("@", "entity")]),
    "dog": ("05", [("dog", "0"), ("domestic_dog", "0")], [("%p", "animal"), ("@", "animal")]),
    "mouse": ("05", [("mouse", "0")], [("@", "animal")]),
    "Mr_Mouse": ("18", [("Mouse", "0")], [("@i", "entity")]),
}


@pytest.fixture
def small_wordnet(tmp_path, monkeypatch):
    def line(name, offsets):
        file, words, pointers = NOUNS[name]
        spelt = " ".join(f"{word} {number}" for word, number in words)
        joined = "".join(f" {kind} {offsets[at]:08d} n 0000" for kind, at in pointers)
        return f"{offsets[name]:08d} {file} n {len(words):02x} {spelt} {len(pointers):03d}{joined} | gloss  \n"

    licence = "  1 This software and database is being provided to you, the LICENSEE  \n"
    offsets, position = dict.fromkeys(NOUNS, 0), len(licence)
    for name in NOUNS:
        offsets[name], position = position, position + len(line(name, offsets))
    (tmp_path / "data.noun").write_text(licence + "".join(line(name, offsets) for name in NOUNS))
    index = {"animal": ["animal"], "dog": ["dog"], "mouse": ["Mr_Mouse", "mouse"], "entity": ["entity"]}
    text = "".join(
        f"{word} n {len(senses)} 1 @ {len(senses)} 0 {' '.join(f'{offsets[s]:08d}' for s in senses)}  \n"
        for word, senses in index.items()
    )
    (tmp_path / "index.noun").write_text(licence + text)
    (tmp_path / "noun.exc").write_text("mice mouse\n")
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path))
    return tmp_path


def test_wordnet_senses_plurals_and_phrases(small_wordnet):
    labels = ["dogs", "mice", "hot dog", "zzz"]
    hierarchy = load_hierarchy(WORDNET, labels)
    assert set(hierarchy.paths) == {"dogs", "mice", "hot dog"}
    spelt = {label: [hierarchy.names[term] for term in path] for label, path in hierarchy.paths.items()}
    assert spelt["dogs"] == spelt["hot dog"] == ["dog", "animal", "entity"] and spelt["mice"][0] == "mouse"
    assert common_parent(["dogs", "mice"], hierarchy) == "animal"
    assert common_parent(["dogs", "hot dog"], hierarchy) == "dog"
    assert common_parent(["dogs", "zzz"], hierarchy) is None


def test_wordnet_that_is_not_there_is_refused_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path))
    with pytest.raises(ConceptError, match=r"not in WNSEARCHDIR \(.*\): install Debian's `wordnet-base`, or unpack"):
        load_hierarchy(WORDNET, ["dog"])
    monkeypatch.delenv("WNSEARCHDIR")
    monkeypatch.setattr("concepts.hierarchy.WORDNET_PLACES", (str(tmp_path / "nowhere"),))
    with pytest.raises(ConceptError, match="not in its usual places"):
        load_hierarchy(WORDNET, ["dog"])


@pytest.mark.skipif(WORDNET_HERE is None, reason="WordNet's database is not installed (Debian: wordnet-base)")
@pytest.mark.parametrize(
    ("labels", "parent"),
    [
        (["dog", "cat"], "carnivore"),
        (["car", "boat"], "vehicle"),
        (["tree", "flower"], "vascular plant"),
        (["women", "children"], "person"),
        (["crane", "gulls"], None),  # a crane is a machine here, not Stephen Crane: its named sense comes first
        (["dog", "car"], None),
        (["dog", "happiness"], None),
    ],
)
def test_wordnet_itself(labels, parent):
    assert common_parent(labels, load_hierarchy(WORDNET, [*labels, "sky"])) == parent
