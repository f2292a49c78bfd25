"""The page: one file of HTML that fetches nothing."""

from collections import Counter
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from lm_jax.report import tables
from lm_jax.report.charts import Chart, variant_class
from lm_jax.report.curves import curves, names
from lm_jax.report.document import document
from lm_jax.report.elements import element
from lm_jax.report.gathered import Gathered, Member
from lm_jax.report.style import style
from lm_jax.runs.code import read_starts
from lm_jax.runs.metrics import read_samples
from lm_jax.statistics import words
from lm_jax.statistics.report import Report
from lm_jax.statistics.verdicts import BETTER, WORSE, Comparison

# What is shown at once; the rest is folded.
_FIRST = ("validation_loss", "loss", "learning_rate", "grad_norm")
_LONGEST = 3000  # characters of a sample


def page(gathered: Gathered, script: str = "") -> str:
    """The whole page.

    Args:
        gathered: what it shows.
        script: that it executes; it may fetch from where the page is from.
    """
    main = element("main", *_main(gathered))
    body = [*_choices(gathered), main]
    return document(gathered.title, style(gathered), body, script)


def _main(gathered: Gathered) -> Iterator[Element]:
    yield element("h1", element("bdi", gathered.title))
    for report in gathered.reports:
        yield from _verdicts(report)
    yield from _curves(gathered)
    yield from _samples(gathered)
    yield from _differing(gathered)
    yield from _environment(gathered)


def _verdicts(report: Report) -> Iterator[Element]:
    """The table of a report, and what it says."""
    yield element("h2", tables.heading(report))
    yield element("p", element("bdi", str(report.folder)), class_="soft")
    found = tables.rows(report)
    reach = _reach(report)
    head = element("tr", *(_head(name) for name in found[0]))
    body = []
    for row in found:
        cells = (_cell(name, cell, row, report, reach) for name, cell in row.items())
        body.append(element("tr", *cells))
    yield _table(head, body)
    told = [*words.sentences(report), *tables.lacking(report)]
    yield element("ul", *(element("li", sentence) for sentence in told))


def _table(head: Element, body: list[Element]) -> Element:
    """A table; on a phone each row is a card, whose cells say what they are."""
    parts = element("thead", head), element("tbody", *body)
    return element("div", element("table", *parts, class_="cards"), class_="scroll")


def _head(name: str) -> Element:
    return element("th", name, scope="col", **_numeric(name))


def _numeric(name: str) -> dict[str, str]:
    return {"class_": "n"} if name in tables.NUMBERS or "interval" in name else {}


def _cell(
    name: str, text: str, row: tables.Row, report: Report, reach: float
) -> Element:
    """A cell of a column; intervals are drawn, too."""
    if name == tables.VARIANT:
        return element("th", element("bdi", text), scope="row")
    kind = _numeric(name)
    if name == tables.POINTS:
        kind = {"class_": "points"}
    if name == tables.VERDICT:
        kind = {"class_": f"verdict {text}" if text in (BETTER, WORSE) else "verdict"}
    children: list[Element | str] = [element("bdi", text)] if text else []
    found = report.comparisons.get(row[tables.VARIANT])
    if found and "interval" in name:
        children = [element("span", text, _strip(found, reach))]
    return element("td", *children, data_label=name, **kind)


def _reach(report: Report) -> float:
    """How far from nothing the intervals of a report reach."""
    ends = [abs(c.mean) + c.interval for c in report.comparisons.values()]
    return max(ends, default=0.0) or 1.0


def _strip(found: Comparison, reach: float) -> Element:
    """A difference and its interval about zero, drawn."""

    def at(value: float) -> float:
        return 50 + 48 * value / reach

    low, high = at(found.mean - found.interval), at(found.mean + found.interval)
    return element(
        "span",
        element("i", class_="zero", style="left:50%"),
        element("i", class_="range", style=f"left:{low:.1f}%;width:{high - low:.1f}%"),
        element("i", class_="mean", style=f"left:{at(found.mean):.1f}%"),
        class_="strip",
        aria_hidden="true",
    )


def _choices(gathered: Gathered) -> Iterator[Element]:
    """What is along the charts: the page's style answers to it, without a script."""
    for axis in gathered.axes:
        chosen = {"checked": ""} if axis == gathered.axes[0] else {}
        yield element(
            "input", type="radio", name="axis", id=f"axis-{axis}", class_="axis",
            aria_label=f"charts by {axis}", **chosen,
        )  # fmt: skip


def _curves(gathered: Gathered) -> Iterator[Element]:
    first = {*_FIRST, *(f"validation_{measure}" for measure in gathered.measures)}
    shown: list[Element] = []
    rest: list[Element] = []
    for name in names(gathered.variants, gathered.measures):
        if found := curves(gathered.variants, name):
            made = Chart(gathered, name, found).element()
            (shown if name in first else rest).append(made)
    if not shown + rest:
        return
    yield element("h2", "Curves")
    yield element("p", *_curves_told(gathered), class_="soft")
    yield _legend(gathered)
    yield element("div", *shown, class_="charts")
    if rest:
        more = element("summary", f"Everything else that was measured ({len(rest)})")
        yield element("details", more, element("div", *rest, class_="charts"))


def _curves_told(gathered: Gathered) -> Iterator[str]:
    yield (
        "Lines are means over the seeds that have ended; bands reach from the smallest "
        "to the largest of them. Runs that haven't ended are thin lines. What is "
        "measured at each step is smoothed over a fiftieth of the steps; the first "
        "tenth of a long curve, and spikes, may lie outside."
    )
    if "time" in gathered.axes:
        yield " Time is at the mean pace: compiling and evaluations are left out."


def _legend(gathered: Gathered) -> Element:
    """The colour of each variant, and the choice of an axis."""
    swatches = [
        element(
            "span",
            element(
                "svg",
                element("path", class_=f"line {variant_class(k)}", d="M0,5h28"),
                viewBox="0 0 28 10",
                aria_hidden="true",
            ),
            element("bdi", variant.name),
        )
        for k, variant in enumerate(gathered.variants)
    ]
    labels = [element("label", axis, for_=f"axis-{axis}") for axis in gathered.axes]
    if len(labels) > 1:
        swatches.append(element("span", *labels, class_="choice"))
    return element("div", *swatches, class_="bar")


def _samples(gathered: Gathered) -> Iterator[Element]:
    """What the first seed of each variant wrote last, side by side."""
    found = []
    for variant in gathered.variants:
        for member in variant.members[:1]:
            samples = read_samples(member.place.run / "samples.txt")
            if not samples:
                continue
            at, seed = samples[-1][0], member.place.seed
            texts = [text[:_LONGEST] for step, text in samples if step == at]
            blocks = [element("pre", text, dir="auto") for text in texts]
            name = element("bdi", variant.name)
            title = element("h3", name, f", seed {seed}, step {at}")
            found.append(element("div", title, *blocks))
    if found:
        yield element("h2", "Samples")
        yield element("div", *found, class_="samples")


def _differing(gathered: Gathered) -> Iterator[Element]:
    found = tables.differing(gathered.variants)
    if not found:
        return
    variants = [variant.name for variant in gathered.variants]
    names_of = ["field", *variants]
    heads = [element("th", element("bdi", name), scope="col") for name in names_of]
    body = [
        element(
            "tr",
            element("th", name, scope="row"),
            *(
                element("td", element("code", value), data_label=variant)
                for variant, value in zip(variants, values, strict=True)
            ),
        )
        for name, values in found.items()
    ]
    yield element("h2", "What differs between the variants")
    yield _table(element("tr", *heads), body)


def _environment(gathered: Gathered) -> Iterator[Element]:
    """Where the runs were made, and by which commands."""
    members = [m for variant in gathered.variants for m in variant.members]
    facts: dict[str, Counter[str]] = {}
    for member in members:
        for name, text in _facts(member):
            facts.setdefault(name, Counter())[text] += 1
    if not facts:
        return
    commands = facts.pop("command", Counter())
    listed: list[Element] = []
    for name, values in facts.items():
        listed.append(element("dt", name))
        told = list(values)
        if len(told) > 1:
            told = [f"{text} ({count} starts)" for text, count in values.items()]
        listed.append(element("dd", element("bdi", "; ".join(told))))
    yield element("h2", "Environment")
    yield element("dl", *listed)
    yield element("h2", "The commands that made it")
    yield element("pre", "\n".join(commands))


def _facts(member: Member) -> Iterator[tuple[str, str]]:
    """What is known of each start of a run."""
    for start in read_starts(member.place.run):
        code, versions = start.get("code") or {}, start.get("versions") or {}
        cores = f"{start['cores']} cores" if start.get("cores") else None
        devices = Counter(start.get("devices") or [])
        flags = (start.get("variables") or {}).items()
        dirty = "with changes" if code.get("dirty") else None
        found: dict[str, list[str | None]] = {
            "command": [start.get("command")],
            "machine": [start.get("host"), start.get("cpu"), cores],
            "devices": [f"{count} x {name}" for name, count in devices.items()],
            "system": [start.get("platform")],
            "versions": [f"{name} {version}" for name, version in versions.items()],
            "commit": [code.get("commit"), dirty],
            "sources": [code.get("sources")],
            "precision": [start.get("precision")],
            "flags": [f"{name}={value}" for name, value in flags],
        }
        for name, parts in found.items():
            if told := ", ".join(part for part in parts if part):
                yield name, told
