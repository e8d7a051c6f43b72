"""The blueprint with all its pages: importing this module is what puts them there."""

from app.web import (
    api_pages,
    compare_pages,
    feature_pages,
    list_pages,
    run_pages,
    search_pages,
    sign_in_pages,
    tf_pages,
)
from app.web.submit_pages import web

__all__ = [
    "api_pages",
    "compare_pages",
    "feature_pages",
    "list_pages",
    "run_pages",
    "search_pages",
    "sign_in_pages",
    "tf_pages",
    "web",
]
