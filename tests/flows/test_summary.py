"""How often a run's page is written: each second where somebody may look at it, and rarely where nobody can."""

from contextlib import nullcontext

import pytest

from flows import summary
from flows.summary import Summary
from study.config import load_config
from study.study import Study
from tests.paths import ROOT


class Over:
    """The end of a run that comes at the third look for it."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        return len(self.waited) == 3


@pytest.mark.parametrize(("seen", "seconds"), [(True, 1.0), (False, 30.0)])
def test_the_page_is_written_as_often_as_it_can_be_looked_at_and_once_at_the_end(monkeypatch, tmp_path, seen, seconds):
    monkeypatch.setattr(summary, "has_ui", lambda: seen)
    monkeypatch.setattr(summary, "get_client", lambda sync_client: nullcontext("client"))
    written: list[str] = []
    monkeypatch.setattr(Summary, "_update", lambda _self, client: written.append(client))
    one = Summary(Study(str(tmp_path), load_config(ROOT / "configs" / "tiny.yaml"), "hash"), "collect", {}, 1)
    one._over = over = Over()
    one._keep_up()
    assert over.waited == [seconds] * 3 and written == ["client"] * 3
