"""A report for a paper: Markdown, LaTeX with booktabs, comma-separated values."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from lm_jax.report import tables
from lm_jax.report.gathered import Gathered
from lm_jax.statistics import words
from lm_jax.statistics.report import Report

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_NUMBER = re.compile(r"[<+-]?\d[\d.e+-]*")


def markdown(gathered: Gathered) -> str:
    """Tables and sentences of all reports, and what differs between variants."""
    parts = [f"# {_plain(gathered.title)}"]
    for report in gathered.reports:
        found = tables.rows(report)
        numbers = [name in tables.NUMBERS for name in found[0]]
        parts.append(f"## {tables.heading(report)}")
        lines = [list(row.values()) for row in found]
        parts.append("\n".join(_pipes(list(found[0]), lines, numbers)))
        told = [*words.sentences(report), *tables.lacking(report)]
        parts.append("\n".join(f"* {_plain(sentence)}" for sentence in told))
    if differing := tables.differing(gathered.variants):
        parts.append("## What differs")
        heads = ["field", *(variant.name for variant in gathered.variants)]
        lines = [[name, *values] for name, values in differing.items()]
        parts.append("\n".join(_pipes(heads, lines, [False] * len(heads))))
    return "\n\n".join(part for part in parts if part) + "\n"


def _pipes(
    heads: Sequence[str], lines: Iterable[Sequence[str]], right: Sequence[bool]
) -> Iterator[str]:
    yield f"| {' | '.join(map(_plain, heads))} |"
    yield f"|{'|'.join('---:' if number else '---' for number in right)}|"
    for line in lines:
        yield f"| {' | '.join(map(_plain, line))} |"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def latex(gathered: Gathered) -> str:
    """A table for each report, its sentences below it."""
    told = ["% Needs \\usepackage{booktabs}."]
    for report in gathered.reports:
        told += [
            "\\begin{table}",
            "  \\centering",
            *(f"  {line}" for line in _tabular(report)),
            f"  \\caption{{{_caption(report)}}}",
            "\\end{table}",
        ]
    return "\n".join(told) + "\n"


def _tabular(report: Report) -> Iterator[str]:
    found = [
        {name: cell for name, cell in row.items() if name != tables.POINTS}
        for row in tables.rows(report)
    ]
    numbers = (*tables.NUMBERS, tables.interval_of(report))
    columns = "".join("r" if name in numbers else "l" for name in found[0])
    yield f"\\begin{{tabular}}{{{columns}}}"
    yield "  \\toprule"
    yield f"  {' & '.join(map(escaped, found[0]))} \\\\"
    yield "  \\midrule"
    for row in found:
        cells = [
            _formula(cell) if name in numbers else escaped(cell)
            for name, cell in row.items()
        ]
        yield f"  {' & '.join(cells)} \\\\"
    yield "  \\bottomrule"
    yield "\\end{tabular}"


def _caption(report: Report) -> str:
    told = [f"{tables.heading(report)}, {report.study.seeds} seeds."]
    if not report.planned:
        told = [f"{tables.heading(report)}."]
    return escaped(" ".join([*told, *words.sentences(report)]))


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is."""
    return "".join(_SPECIAL.get(each, each) for each in " ".join(text.split()))


def _formula(text: str) -> str:
    """Figures with the signs of formulas; what stands between them as it is."""
    numbers = [f"${number}$" for number in _NUMBER.findall(text)]
    between = [escaped_between(part) for part in _NUMBER.split(text)]
    return between[0] + "".join(
        number + after for number, after in zip(numbers, between[1:], strict=True)
    )


def escaped_between(text: str) -> str:
    """As `escaped`, with the spaces at both ends."""
    return "".join(_SPECIAL.get(each, each) for each in text)


def values(gathered: Gathered) -> str:
    """Comma-separated values: a line for each variant, all digits."""
    lines = [line for report in gathered.reports for line in variant_lines(report)]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    seeds = [name for name in columns if re.fullmatch(r"seed\d+", name)]
    others = [name for name in columns if name not in seeds]
    stream = io.StringIO()
    out = csv.DictWriter(stream, [*others, *seeds], lineterminator="\n")
    out.writeheader()
    out.writerows(lines)
    return stream.getvalue()


def variant_lines(report: Report) -> Iterator[dict[str, object]]:
    """What is known of each variant, all digits; "" of what isn't."""
    for name, scores in report.scores.items():
        found = list(scores.values())
        line: dict[str, object] = {
            "folder": report.folder,
            "measure": report.measure,
            "variant": name,
            "against": report.against.get(name, ""),
            "mean": float(np.mean(found)) if found else "",
            "sd": float(np.std(found, ddof=1)) if len(found) > 1 else "",
            "difference": "",
            "low": "",
            "high": "",
            "p_t": "",
            "p_permutation": "",
            "verdict": tables.verdict(report, name),
        }
        if other := report.comparisons.get(name):
            line |= {"difference": other.mean, "low": other.mean - other.interval}
            line |= {"high": other.mean + other.interval, "p_t": other.t}
            line |= {"p_permutation": other.permutation}
        if effect := report.study.published.get(name):
            line |= {"published": effect.effect, "source": effect.source}
            line |= {"agreement": words.agreements(report)[name]}
        yield line | {f"seed{seed}": score for seed, score in scores.items()}
