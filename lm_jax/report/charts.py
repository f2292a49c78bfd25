"""Charts of a page: small drawings whose words are text of the page.

The drawing is stretched to the width that there is; letters and strokes are not. It is
drawn along the steps; along another axis each variant is stretched by a number of its
own, which the page's style does.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from lm_jax.report.curves import Curves, Steps, Values, limits, thinned
from lm_jax.report.elements import Element, element
from lm_jax.report.gathered import Gathered
from lm_jax.runs.figures import duration, short

_SIZE = 4000  # units of a drawing, both ways
_DOTS = 40  # points of a line that is so short that each has a dot
_TITLES = {"loss": "training loss", "grad_norm": "gradient norm"}
_UNITS = {"step": "steps", "token": "tokens", "FLOP": "FLOPs", "time": "time"}
COLOURS = 6  # that the style knows; then other strokes


class Chart:
    """A number of all variants.

    Args:
        gathered: what is drawn.
        name: of the number, as metrics.jsonl has it.
        found: its curves.
    """

    def __init__(self, gathered: Gathered, name: str, found: Sequence[Curves]):
        self._gathered, self._name, self._found = gathered, name, found
        self._low, self._high = limits(found, name)
        self._most = longest(gathered)

    def element(self) -> Element:
        """The chart with its title and axes."""
        title = _TITLES.get(self._name, self._name.replace("_", " "))
        drawing = element(
            "svg",
            *self._grid(),
            *(part for each in self._found for part in self._drawn(each)),
            viewBox=f"0 0 {_SIZE} {_SIZE}",
            preserveAspectRatio="none",
            role="img",
            aria_label=self._told(title),
        )
        ticks = [self._ticks(axis) for axis in self._gathered.axes]
        sides = element("div", *self._side(), class_="side")
        plot = element("div", sides, drawing, *ticks, class_="plot")
        return element("figure", element("figcaption", title), plot)

    def _told(self, title: str) -> str:
        """The chart in words."""
        ends = []
        for each in self._found:
            values = each.lines[0][1]
            name = self._gathered.variants[each.index].name
            ends.append(f"{name} from {values[0]:.4g} to {values[-1]:.4g}")
        return f"{title} by step: {'; '.join(ends)}."

    def _drawn(self, found: Curves) -> Iterator[Element]:
        """Band, mean and lines of a variant."""
        kind = variant_class(found.index)
        if found.band and found.band.seeds > 1:
            steps, _, low, high, _ = found.band
            there, back = self._path(steps, high), self._path(steps[::-1], low[::-1])
            yield element("path", class_=f"band {kind}", d=f"M{there}L{back}Z")
        for steps, values in found.lines:
            lone = "" if found.band and values is found.band.mean else " lone"
            kinds = f"line {kind}{lone}"
            yield element("path", class_=kinds, d=f"M{self._path(steps, values)}")
            if len(steps) <= _DOTS:
                dots = self._path(steps, values).split("L")
                d = "".join(f"M{dot}h0" for dot in dots)
                yield element("path", class_=f"dots {kind}", d=d)

    def _path(self, steps: Steps, values: Values) -> str:
        kept = thinned(len(steps))
        x = np.rint(steps[kept] * (_SIZE / self._most)).astype(int)
        y = np.rint(self._down(values[kept]) * _SIZE).astype(int)
        return "L".join(f"{a},{b}" for a, b in zip(x, y, strict=True))

    def _down(self, values: Values) -> Values:
        """How far down values lie, from 0 to 1; those far outside a little outside."""
        share = (self._high - values) / (self._high - self._low)
        return np.clip(share, -0.5, 1.5)

    def _marks(self) -> list[tuple[float, str]]:
        """How far down the ticks of the vertical axis lie, and what they say."""
        values = ticks(self._low, self._high)
        values = values[(values >= self._low) & (values <= self._high)]
        return list(zip(self._down(values), labels(values), strict=True))

    def _grid(self) -> Iterator[Element]:
        for share, _ in self._marks():
            yield element("path", class_="grid", d=f"M0,{share * _SIZE:.0f}h{_SIZE}")

    def _side(self) -> Iterator[Element]:
        for share, label in self._marks():
            yield element("span", label, style=f"top:{100 * share:.1f}%")

    def _ticks(self, axis: str) -> Element:
        """The ticks below, of one of the axes that the reader chooses from."""
        whole = span(self._gathered, axis)
        values = ticks(0.0, whole, 4)
        values = values[(values >= 0) & (values <= 1.001 * whole)]
        words = [
            element("span", label, style=f"left:{100 * value / whole:.1f}%")
            for value, label in zip(values, _amounts(values, axis), strict=True)
        ]
        return element(
            "div", *words, element("i", _UNITS[axis]), class_=f"below of-{axis}"
        )


def variant_class(index: int) -> str:
    """The classes of a variant: its own, its colour, its stroke."""
    return f"v{index} c{index % COLOURS} s{index // COLOURS % 3}"


def longest(gathered: Gathered) -> int:
    """The last step of all runs."""
    return max((variant.last for variant in gathered.variants), default=0) or 1


def span(gathered: Gathered, axis: str) -> float:
    """How long an axis is."""
    variants = gathered.variants
    return max((v.last * (v.a_step(axis) or 0.0) for v in variants), default=0.0) or 1.0


def stretches(gathered: Gathered, axis: str) -> Iterator[tuple[int, float]]:
    """By how much each variant is stretched along an axis, against the steps."""
    whole = span(gathered, axis)
    for index, variant in enumerate(gathered.variants):
        a_step = variant.a_step(axis)
        if a_step is not None:
            yield index, a_step * longest(gathered) / whole


def ticks(low: float, high: float, many: int = 5) -> Values:
    """Round numbers from one to another; the outermost may lie outside."""
    from matplotlib.ticker import MaxNLocator

    return np.array(MaxNLocator(many).tick_values(low, high))


def labels(values: Sequence[float] | Values) -> list[str]:
    """Ticks as words, with as many digits as tell them apart."""
    for digits in range(1, 12):
        words = [f"{value:.{digits}g}" for value in values]
        exact = all(
            np.isclose(float(word), value, rtol=1e-9, atol=1e-12)
            for word, value in zip(words, values, strict=True)
        )
        if exact:
            break
    return words


def _amounts(values: Values, axis: str) -> list[str]:
    words = {"step": short, "token": short, "FLOP": "{:.2g}".format, "time": duration}
    return ["0" if value == 0 else words[axis](value) for value in values]
