"""The web application: `create_app(settings)` puts together what the routes need."""

import importlib
import logging
import secrets
import time

from flask import Flask, g, request
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Response as WerkzeugResponse

from app import errors
from app.api import (
    EXTENSION,
    Services,
    admin,
    alleles,
    analyses,
    concepts,
    dictionaries,
    expectation,
    feature_files,
    features,
    figures,
    genomes,
    logos,
    models,
    regions,
    runs,
    service,
    services,
    shared,
    tfs,
    tracks,
    ucsc,
)
from app.api.uploads import UploadRequest
from app.auth import asking, check_identity, check_request, write_audit
from app.card_cache import KnownCards
from app.config import Settings
from app.database import check_schema, make_engine
from app.errors import problem
from app.estimates import Paces
from app.file_cache import FileCache
from app.logs import hide_tokens, said, set_up
from app.metrics import Metrics
from app.openapi import make_flask
from app.rates import RateLimits
from app.storage import open_storage
from app.web.pages import web
from app.web.policy import wants_page

requests = logging.getLogger("saetrack.request")

MAX_JSON_BYTES = 100_000
"""Largest JSON body; uploads have a limit of their own."""

STORAGE_PATIENCE = 5.0
"""Seconds that a request waits for an object store that refuses."""

MODULES = (
    service,
    models,
    runs,
    genomes,
    features,
    regions,
    alleles,
    expectation,
    tfs,
    dictionaries,
    feature_files,
    logos,
    concepts,
    analyses,
    tracks,
    shared,
    figures,
    ucsc,
    admin,
)
"""Routes of the REST interface, in the order of its document."""

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Sent with every answer: nothing is loaded from elsewhere and no address leaks."""


def serve_app() -> Flask:
    """The application of the environment's settings, with this process's logs set up."""
    settings = Settings.from_env()
    set_up(settings)
    # it takes a second to load, for which the first who asks for a table would hold up all others
    importlib.import_module("pyarrow.dataset")
    return create_app(settings)


def create_app(settings: Settings | None = None) -> Flask:
    """The WSGI application of an installation.

    Parameters
    ----------
    settings : Settings, optional
        Those of the environment by default.

    Returns
    -------
    app : Flask
        It holds no state of its own: several may serve the same data.

    Raises
    ------
    OptionError
        If a setting is not allowed.
    StateError
        If the database has not been brought to this version.
    """
    settings = Settings.from_env() if settings is None else settings
    settings.make_folders()
    engine = make_engine(settings)
    check_schema(engine)
    app = make_flask("app", version=service.VERSION, description=service.DESCRIPTION)
    app.request_class = UploadRequest
    app.extensions[EXTENSION] = Services(
        settings=settings,
        engine=engine,
        storage=open_storage(settings, patience=STORAGE_PATIENCE),
        rates=RateLimits(settings),
        metrics=Metrics(settings, engine),
        made=FileCache(settings.runs_cache_dir, most_bytes=settings.cache_bytes),
        paces=Paces(),
        known_cards=KnownCards(),
    )
    # a redirect would lose the path that relative addresses of tracks go by
    app.url_map.strict_slashes = app.url_map.merge_slashes = False
    for module in MODULES:
        app.register_api(module.api)  # type: ignore[attr-defined]
    app.register_blueprint(web)
    errors.register(app)
    hide_tokens()
    if settings.proxies:
        hops = settings.proxies
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops
        )
    app.before_request(_before)
    app.after_request(_after)
    return app


def _before() -> WerkzeugResponse | None:
    """Name the request, and refuse what must not reach a route."""
    g.request_id = secrets.token_hex(8)
    g.began = time.monotonic()
    if request.is_json:
        request.max_content_length = MAX_JSON_BYTES
    ucsc.split_semicolons()
    here = services()
    refusal = check_request(here.settings) or check_identity(
        here.settings, here.engine, here.rates, wants_page=wants_page()
    )
    if refusal is not None:
        return refusal
    doubled = sorted(name for name, values in request.args.lists() if len(values) > 1)
    if doubled:
        places = [{"location": name[:80], "message": "is given twice"} for name in doubled]
        said = f"each parameter may be given once: {', '.join(name[:80] for name in doubled)}"
        return problem(400, "option-error", said, errors=places)
    return None


def _note(answer: WerkzeugResponse) -> None:
    """Count and log the request, by the pattern of its address: names and tokens stay out."""
    route = request.url_rule.rule if request.url_rule is not None else "(none)"
    seconds = time.monotonic() - g.get("began", time.monotonic())
    services().metrics.count(request.method, route, answer.status_code, seconds)
    identity = asking()
    said(
        requests,
        "request",
        request=g.get("request_id"),
        owner=None if identity is None else identity.owner,
        method=request.method,
        route=route,
        status=answer.status_code,
        seconds=round(seconds, 4),
    )


def _after(answer: WerkzeugResponse) -> WerkzeugResponse:
    """Add the headers that every answer has, and note what was changed."""
    write_audit(answer)
    _note(answer)
    for name, value in SECURITY_HEADERS.items():
        answer.headers.setdefault(name, value)
    answer.headers.setdefault("X-Request-Id", g.get("request_id", "none"))
    if "Cache-Control" not in answer.headers:
        answer.headers["Cache-Control"] = "no-store"
    return answer
