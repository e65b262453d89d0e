"""The application: addresses to pages. What an address names is looked up, never opened; all but an edit is read."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from concept_atlas import AtlasError
from explorer.compare_page import compare_page
from explorer.concept_page import concept_page
from explorer.edit_page import edit_form, edited_page, edited_picture, requested
from explorer.finding import LONGEST, found, meant
from explorer.guard import Guard
from explorer.home import home
from explorer.image_edits import study_picture
from explorer.image_page import codes, image_page, masks, picture
from explorer.jobs import Jobs
from explorer.label_page import label_page
from explorer.list_page import list_page
from explorer.missing import Missing
from explorer.source import FAULTS, Source
from explorer.words import FILTERS

HERE = Path(__file__).parent
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
ENCODERS = 2  # images whose codes are computed at once


def application(source: Source, site: Site | None = None) -> Guard:
    """The pages over a study, behind their guard; with a ``site``, as they stand in one that needs no server."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    pages = Pages(source, site)
    one_at_a_time = threading.Semaphore(ENCODERS)
    jobs, token = Jobs(source), secrets.token_urlsafe(16)
    files = {path.name: path.read_bytes() for path in sorted((HERE / "static").iterdir())}

    @app.get("/")
    def first(k: str = "") -> Response:
        return pages.html("home.html", lambda: home(source, k))

    @app.get("/search")
    def search(q: str = "") -> Response:
        return pages.html("search.html", lambda: found(source, q))

    @app.get("/search/meaning")
    def meaning(q: str = "") -> Response:
        return pages.json(lambda: meant(source, q))

    @app.get("/label/{label:path}")
    def label_(label: str, k: str = "") -> Response:
        return pages.html("label.html", lambda: label_page(source, label, k))

    @app.get("/image/{number}")
    def image_(number: str) -> Response:
        return pages.html("image.html", lambda: image_page(source, number))

    @app.get("/image/{number}/picture")
    def picture_(number: str) -> Response:
        return pages.answer(lambda: Response(picture(source, number), media_type="image/png"))

    @app.get("/image/{number}/segments")
    def segments_(number: str) -> Response:
        return pages.json(lambda: masks(source, number))

    @app.get("/image/{number}/edits/{case}/{picture}")
    def study_picture_(number: str, case: str, picture: str) -> Response:
        return pages.answer(lambda: Response(study_picture(source, number, case, picture), media_type="image/png"))

    @app.get("/image/{number}/codes/{block}/{t}/{conditioning}/{k}")
    def codes_(number: str, block: str, t: str, conditioning: str, k: str) -> Response:
        with one_at_a_time:
            return pages.json(lambda: codes(source, number, block, t, conditioning, k.removeprefix("k")))

    @app.get("/compare")
    def compare_(a: str = "", b: str = "") -> Response:
        return pages.html("compare.html", lambda: compare_page(source, a, b))

    @app.get("/list")
    def list_(c: Annotated[list[str], Query()] = [], n: Annotated[list[str], Query()] = []) -> Response:  # noqa: B006
        return pages.html("list.html", lambda: list_page(source, c, n))

    @app.get("/edit")
    def edit_form_(image: str = "", concept: str = "", block: str = "") -> Response:
        return pages.html("edit.html", lambda: {**edit_form(source, image, concept, block), "token": token})

    @app.post("/edit")
    async def edit_(request: Request) -> Response:
        if not secrets.compare_digest(request.headers.get("x-token", "").encode(), token.encode()):
            return JSONResponse({"said": "This page is of an earlier start of the explorer: load it again."}, 403)
        return _submitted(jobs, await request.body())

    @app.get("/edit/job/{number}")
    def job_(number: str) -> Response:
        told = jobs.told(number)
        return JSONResponse(told) if told else JSONResponse({"said": "That edit is not known any more."}, 404)

    @app.get("/edit/{name}")
    def edited_(name: str) -> Response:
        return pages.html("edited.html", lambda: edited_page(source, name))

    @app.get("/edit/{name}/{picture}")
    def edited_picture_(name: str, picture: str) -> Response:
        return pages.answer(lambda: Response(edited_picture(source, name, picture), media_type="image/png"))

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in files:
            return PlainTextResponse("There is no such file.\n", 404)
        return Response(files[name], media_type=TYPES[Path(name).suffix])

    @app.get("/{block}/{t}/{conditioning}/{k}/{cid}")
    def concept_(block: str, t: str, conditioning: str, k: str, cid: str) -> Response:
        return pages.html(
            "concept.html", lambda: concept_page(source, block, t, conditioning, k.removeprefix("k"), cid)
        )

    @app.get("/{rest:path}")
    def nothing(rest: str) -> Response:
        return pages.html("home.html", lambda: _raise(Missing("There is no such page.", (("the study", "/"),))))

    return Guard(app)


def _submitted(jobs: Jobs, body: bytes) -> Response:
    """Put in line what a page asks for; what cannot be one is told at once."""
    try:
        return JSONResponse({"job": jobs.submit(requested(json.loads(body)))}, 202)
    except AtlasError as error:
        return JSONResponse({"said": str(error)}, 422)
    except (ValueError, RecursionError):
        return JSONResponse({"said": "An edit is asked for in JSON."}, 400)


def _raise(error: Exception) -> dict[str, Any]:
    raise error


def _module(name: str) -> Markup:
    return Markup('<script type="module" src="/static/{}.js"></script>').format(name)


def _plain_script(name: str) -> Markup:
    """Browsers load no modules from a folder."""
    return Markup('<script defer src="/static/{}.js"></script>').format(name)


@dataclass(frozen=True)
class Site:
    """What pages say where no server is behind them: the policy that the browser keeps, and what the site holds."""

    policy: str
    held: str


class Pages:
    """Turns what a page shows into a response, and what goes wrong into a page that says so."""

    def __init__(self, source: Source, site: Site | None) -> None:
        self._source, self._site = source, site
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(FILTERS)
        self._templates.globals["script"] = _plain_script if site else _module

    def html(self, template: str, ask: Callable[[], dict[str, Any]]) -> Response:
        """A page of a template; of what is missing, one that names the nearest."""
        return self.answer(lambda: self._page(template, 200, ask()))

    def answer(self, ask: Callable[[], Response]) -> Response:
        """The response; asked once more where a table was replaced while it was read."""
        try:
            return self._again(ask)
        except Missing as missing:
            return self._page("missing.html", 404, {"said": missing.said, "nearest": missing.nearest})
        except FAULTS as error:
            return self._page("missing.html", 503, {"said": str(error), "nearest": (("the study", "/"),)})

    def json(self, ask: Callable[[], dict[str, Any]]) -> Response:
        """Data for a page's script; of what is missing or damaged, the sentence that says so."""
        try:
            return JSONResponse(self._again(ask))
        except Missing as missing:
            return JSONResponse({"said": missing.said}, 404)
        except FAULTS as error:
            return JSONResponse({"said": str(error)}, 503)

    def _again(self, ask: Callable[[], Any]) -> Any:
        return self._source.again(lambda: (self._source.refreshed(), ask())[1])

    def _page(self, template: str, status: int, shown: dict[str, Any]) -> Response:
        common = {"study": self._source.atlas.name, "longest": LONGEST, "question": "", "site": self._site}
        return HTMLResponse(self._templates.get_template(template).render({**common, **shown}), status)
