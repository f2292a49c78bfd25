"""What a model says of a text, as one page: a heat map of its tokens."""

import base64
import io
from collections.abc import Iterator
from xml.etree.ElementTree import Element

import numpy as np
from jaxtyping import Float

from lm_jax.inspection.attributions import Decision
from lm_jax.inspection.inspecting import Inspected
from lm_jax.inspection.reading import Reading
from lm_jax.report.document import document
from lm_jax.report.elements import element
from lm_jax.report.inspected import alternatives, probability, rows
from lm_jax.report.style import STYLE

_WORST = 10.0  # nats of a token that is as hot as can be
_COLOUR = (0, 114, 178)  # of attention: seen on white and on black

_STYLE = """
:root { --hot: 213 94 0; --up: 0 128 92; --down: 213 94 0; }
@media (prefers-color-scheme: dark) { :root { --up: 47 199 155; } }
body { padding-bottom: 14rem; }
.heat { font: 1rem/2 ui-monospace, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; unicode-bidi: plaintext; }
.t { background: rgb(var(--hue, var(--hot)) / var(--a, 0)); border-radius: .2rem;
  cursor: pointer; border-bottom: 2px solid var(--line); }
.t + .t { margin-left: 1px; }
.t:hover, .t:focus { outline: 2px solid var(--c0); }
.blank { border-bottom-style: dotted; color: var(--soft); }
.up { --hue: var(--up); } .down { --hue: var(--down); }
.more { display: none; position: fixed; inset: auto 0 0 0; padding: .75rem 1rem;
  max-height: 13rem; overflow: auto; background: var(--shade); color: var(--ink);
  border-top: 1px solid var(--line); font: .875rem/1.5 system-ui, sans-serif;
  white-space: normal; }
.t:hover .more, .t:focus .more { display: block; }
.t:hover .more { z-index: 2; }
.more b { overflow-wrap: anywhere; }
.more i { font-style: normal; display: inline-block; margin-right: 1rem; }
.scale { display: flex; gap: .5rem; align-items: center; font-size: .875rem; }
.maps { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 10rem), 1fr)); }
.maps img { width: 100%; image-rendering: pixelated; background: var(--shade); }
"""


def inspected_page(found: Inspected, title: str) -> str:
    """One file of HTML that fetches nothing, and shows what it shows without a script.

    Args:
        found: of a text.
        title: of the page.
    """
    style = "\n".join([STYLE.strip(), _STYLE.strip(), ""])
    main = element("main", *_main(found, title))
    return document(title, style, [main], images=found.maps is not None)


def _main(found: Inspected, title: str) -> Iterator[Element]:
    yield element("h1", element("bdi", title))
    listed = []
    for name, value in rows(found):
        listed += [element("dt", name), element("dd", element("bdi", value))]
    yield element("dl", *listed)
    if found.reading is not None:
        yield from _tokens(found.reading, found.symbols)
    if found.decision is not None:
        yield from _words(found.decision)
    if found.maps is not None:
        yield from _attention(found.maps, found.symbols)


def _tokens(reading: Reading, symbols: list[str]) -> Iterator[Element]:
    yield element("h2", "Tokens")
    hint = "The warmer, the less likely. Point at one or tap it for what was likelier."
    yield element("p", hint, class_="soft")
    places = {int(place): k for k, place in enumerate(reading.scored)}
    shown: list[Element | str] = []
    for place, symbol in enumerate(symbols):
        number = places.get(place)
        shown.append(_token(reading, symbol, number))
        shown += [element("br")] if symbol == "\\n" else []
        shown += [" "] if reading.spaced else []
    yield element("div", *shown, class_="heat", dir="auto")


def _token(reading: Reading, symbol: str, number: int | None) -> Element:
    """A token that shows more where it is pointed at."""
    if number is None:
        more = element("span", "It has no probability.", class_="more")
        return element("span", symbol, more, class_="t blank", tabindex="0")
    log_p = float(reading.answers.log_probabilities[number])
    told = (
        f" {probability(log_p)}, {-log_p:.2f} nats, rank "
        f"{int(reading.answers.ranks[number]):,}. Likeliest: "
    )
    others = [
        element("i", element("bdi", f"'{name}'"), f" {probability(value)}")
        for name, value in alternatives(reading, number)
    ]
    more = element("span", element("b", f"'{symbol}'"), told, *others, class_="more")
    heat = min(1.0, -log_p / _WORST) * 0.85
    style = f"--a:{heat:.3f}"
    return element("span", symbol, more, class_="t", tabindex="0", style=style)


def _words(found: Decision) -> Iterator[Element]:
    yield element("h2", "Words")
    name = found.names[found.chosen]
    hint = (
        f"Green words speak for {name}, orange ones against it, by integrated "
        "gradients. Point at one or tap it for figures."
    )
    yield element("p", hint, class_="soft")
    integrated = found.by_word(found.integrated)
    plain = found.by_word(found.gradient_times_input)
    most = max(abs(value) for _, value in integrated) or 1.0
    shown: list[Element | str] = []
    for (word, value), (_, other) in zip(integrated, plain, strict=True):
        told = f" integrated gradients {value:+.4f}, gradient x input {other:+.4f}"
        more = element("span", element("b", word), told, class_="more")
        kind = "t up" if value > 0 else "t down"
        style = f"--a:{0.85 * abs(value) / most:.3f}"
        shown += [
            element("span", word, more, class_=kind, tabindex="0", style=style),
            " ",
        ]
    yield element("div", *shown, class_="heat", dir="auto")


def _attention(
    maps: Float[np.ndarray, "layers heads time time"], symbols: list[str]
) -> Iterator[Element]:
    yield element("h2", "Attention")
    hint = (
        f"A row is a token that attends, a column one that it attends to: "
        f"{len(symbols)} of each, in the order of the text. The bluer, the more of it."
    )
    yield element("p", hint, class_="soft")
    for layer, heads in enumerate(maps, 1):
        figures = [
            element("figure", _image(weights, f"layer {layer}, head {number}"),
                    element("figcaption", f"head {number}"))
            for number, weights in enumerate(heads, 1)
        ]  # fmt: skip
        summary = element("summary", f"Layer {layer}")
        shown = {"open": ""} if layer == 1 else {}
        yield element(
            "details", summary, element("div", *figures, class_="maps"), **shown
        )


def _image(weights: Float[np.ndarray, "time time"], name: str) -> Element:
    """A map as a picture inside the page: a token is a pixel."""
    from matplotlib.image import imsave

    strength = np.sqrt(np.clip(weights, 0.0, 1.0))  # a tenth is to be seen too
    colours = np.broadcast_to(np.array(_COLOUR, np.uint8), (*weights.shape, 3))
    alpha = np.rint(255 * strength).astype(np.uint8)[..., None]
    made = io.BytesIO()
    imsave(made, np.concatenate([colours, alpha], -1), format="png")
    data = base64.b64encode(made.getvalue()).decode("ascii")
    return element("img", src=f"data:image/png;base64,{data}", alt=name)
