"""Answers on the pages are the study's: renewed where they are others, and nothing else of a page is touched."""

from benchmarks import answers
from tests.parts import add_part, open_study

PAGE = """# A page

```sql
select label, count(*) as n from tags group by label order by label
```

```text
{answer}```

Between them.

```sql
select 1 as a
```

```text
a
-
1
```
"""
RIGHT = "label  n\n-----  -\nhouse  1\ntree   2\n"


def study(root):
    open_study(root, {"name": "x"}, {})
    names = ["tree", "house", "tree"]
    rows = [{"prompt_id": i, "label": name, "score": 0.5, "tagger": "x"} for i, name in enumerate(names)]
    add_part(root, "tags", "a", rows)
    return root


def test_only_what_differs_is_renewed_and_named(tmp_path):
    root = study(tmp_path / "study")
    found, changed = answers.renewed(PAGE.format(answer="typed by hand\n"), root)
    assert found == PAGE.format(answer=RIGHT) and len(changed) == 1 and changed[0].startswith("select label")
    assert answers.renewed(found, root) == (found, [])


def test_a_question_may_name_another_study(tmp_path, capsys):
    root, other = study(tmp_path / "study"), study(tmp_path / "other")
    add_part(other, "tags", "b", [{"prompt_id": 9, "label": "tree", "score": 0.5, "tagger": "x"}])
    page = PAGE.format(answer="").replace("```sql\nselect label", "```sql\n-- of {}\nselect label")
    found, _ = answers.renewed(page.replace("{}", "other"), root)
    assert "tree   3" in found
    left, changed = answers.renewed(page.replace("{}", "gone"), root)
    assert left == page.replace("{}", "gone") and changed == []
    assert "gone is not there, so this is left: -- of gone select label" in capsys.readouterr().out


def test_check_writes_nothing_and_tells(tmp_path, monkeypatch, capsys):
    root, page = study(tmp_path / "study"), tmp_path / "page.md"
    page.write_text(PAGE.format(answer=""))
    monkeypatch.setattr(answers, "PAGES", (page,))
    monkeypatch.setattr(answers, "REPO", tmp_path)
    assert answers.main([str(root), "--check"]) == 1 and page.read_text() == PAGE.format(answer="")
    assert "page.md: another answer to: select label" in capsys.readouterr().out
    assert answers.main([str(root)]) == 0 and page.read_text() == PAGE.format(answer=RIGHT)
    assert answers.main([str(root), "--check"]) == 0


def test_every_answer_of_the_pages_is_found():
    for page in answers.PAGES:
        text = page.read_text()
        blocks = text.count("```text\n")
        assert blocks == len(answers.ANSWERED.findall(text)) > 0, page
