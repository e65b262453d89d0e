"""axe-core on every kind of page, served and exported, in light and in dark: nothing serious, nothing critical."""

from __future__ import annotations

import pytest

from explorer.addresses import canonical
from explorer.plan import planned
from explorer.source import Source
from tests.system import axe, browser
from tests.system.explored import exported, served

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(browser.PROGRAM is None, reason=browser.ABSENT),
    pytest.mark.skipif(not axe.FILE.is_file(), reason=axe.ABSENT),
]


@pytest.fixture(scope="module")
def tab():
    with browser.page() as page:
        yield page


def addresses(study):
    """One address of every kind of page, whose concept and image have pages in an exported site, too."""
    plan = planned(Source(study), 3, 3)
    at, cids = next((at, cids) for at, cids in plan.concepts.items() if cids)
    name, other = f"{at.path}/{cids[0]}", f"{at.path}/{cids[-1]}"
    label = next(address for address in plan.files if address.startswith("/label/"))
    pair = next(address for address in plan.files if address.startswith("/compare?"))
    edits = [address for address in plan.files if address.startswith("/edit/")]
    pages = ["/", label, at.url(cids[0]), f"/image/{plan.images[0]}", "/search?q=tree", "/edit", *edits[:1]]
    pages += ["/compare", pair, f"/compare?a={name}&b={other}", f"/list?c={name}&n=why", "/list"]
    return plan, pages


def test_pages_that_are_served_have_no_grave_fault(tab, edited_study, tmp_path):
    _, pages = addresses(edited_study)
    assert any(page.startswith("/edit/") for page in pages)
    with served(edited_study, tmp_path) as address:
        found = [fault for page in (*pages, "/nowhere") for fault in axe.faults(tab, f"{address}{page}")]
    assert found == []


def test_pages_of_an_exported_site_have_no_grave_fault(tab, edited_study, tmp_path):
    """Those that are not, but for their addresses, as they are served."""
    site = exported(edited_study, tmp_path / "site", "--concepts", "3", "--images", "3")[0]
    plan, pages = addresses(edited_study)
    unlike = (page for page in pages if page == "/" or page.startswith(("/edit", "/compare")) or page == pages[2])
    there = [plan.files[canonical(page)] for page in unlike if canonical(page) in plan.files]
    there += ["search.html?q=tree", f"list.html?c={pages[2].removeprefix('/')}&n=why"]
    assert [fault for page in there for fault in axe.faults(tab, f"{site.as_uri()}/{page}")] == []


def test_a_fault_is_found(tab, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<!doctype html><html><title>x</title><main><img src='a.png'><input></main></html>")
    found = " ".join(axe.faults(tab, page.as_uri()))
    assert "image-alt" in found and "label" in found and "html-has-lang" in found
