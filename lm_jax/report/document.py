"""A whole page: what every page is told of itself, and what it may fetch."""

from collections.abc import Iterable
from xml.etree.ElementTree import Element

from lm_jax.report.elements import element, markup

_FETCHES = "default-src 'none'; style-src 'unsafe-inline'"


def document(
    title: str,
    style: str,
    body: Iterable[Element],
    script: str = "",
    images: bool = False,
) -> str:
    """One file of HTML that needs no other.

    Args:
        title: of the page.
        style: how it looks.
        body: what it shows.
        script: that it executes; it may fetch from where the page is from.
        images: whether it holds pictures, as data of its own.
    """
    fetches = _FETCHES
    fetches += "; img-src data:" if images else ""
    if script:
        fetches += "; script-src 'unsafe-inline'; connect-src 'self'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=fetches),
        element("meta", name="viewport", content="width=device-width"),
        element("title", title),
        element("style", style),
    )
    scripts = [element("script", script)] if script else []
    whole = element("html", head, element("body", *body, *scripts), lang="en")
    return f"<!doctype html>\n{markup(whole)}\n"
