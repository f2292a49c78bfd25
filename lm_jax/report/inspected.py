"""What a model says of a text, in lines for a terminal and as an object."""

import math
from collections.abc import Iterator
from typing import Any

from rich.cells import cell_len, set_cell_size

from lm_jax.inspection.attributions import GAP, Decision
from lm_jax.inspection.inspecting import Inspected
from lm_jax.inspection.reading import Reading

_COLUMNS = 80
_WIDEST = 18  # cells of a token; a longer one is cut
Parts = list[tuple[str, str]]
"""(text, style) of one line."""


def rows(found: Inspected) -> list[tuple[str, str]]:
    """What is said above the tokens: names and values."""
    return [*(_of_reading(found) if found.reading else _of_decision(found.decision))]


def _of_reading(found: Inspected) -> Iterator[tuple[str, str]]:
    assert found.reading is not None
    total, count = found.reading.log_probability, len(found.reading.scored)
    yield "tokens", f"{len(found.symbols):,}, of which {count:,} are scored"
    if count:
        mean = f"{-total / count:.6f} nats a token"
        yield "log-probability", f"{total:.6f} nats; {mean}"
    yield "scored by", found.formulation
    if found.seen:
        yield "read", found.seen


def _of_decision(found: Decision | None) -> Iterator[tuple[str, str]]:
    assert found is not None
    name, value = found.names[found.chosen], float(found.outputs[found.chosen])
    what = "value"
    if len(found.names) > 1:
        what = f"logit of {name}"
        order = found.probabilities.argsort()[::-1]
        told = (f"{found.names[i]} {found.probabilities[i]:.4f}" for i in order)
        yield "probabilities", ", ".join(told)
    if found.row.cut:
        yield "cut", f"{found.row.cut:,} tokens that the model doesn't read"
    yield (
        "explained",
        f"the {what}, {value:.4f}: {found.difference:+.4f} from that of zero vectors",
    )
    yield "integrated", _gap(found)


def _gap(found: Decision) -> str:
    said = (
        f"over {found.points} points; they add up to {found.integrated.sum():+.4f}, "
        f"{found.gap:.2%} off"
    )
    if found.gap > GAP:
        said += f". WARNING: more than {GAP:.0%}: don't trust the smaller ones"
    return said


def lines(found: Inspected) -> Iterator[Parts]:
    """A line for each token, or each word of a decision, under a line of heads."""
    if found.reading is not None:
        yield from _tokens(found.reading, found.symbols)
    elif found.decision is not None:
        yield from _words(found.decision)


def _tokens(reading: Reading, symbols: list[str]) -> Iterator[Parts]:
    width = min(_WIDEST, max(map(cell_len, [*symbols, "token"])))
    head = f"{'probability':>11} {'nats':>7} {'rank':>6}  likeliest"
    yield [(set_cell_size("token", width), "bold"), (f" {head}", "bold")]
    places = {int(place): k for k, place in enumerate(reading.scored)}
    for place, symbol in enumerate(symbols):
        token = set_cell_size(symbol, width)
        if place not in places:
            yield [(token, "dim")]
            continue
        told = alternatives(reading, places[place])
        log_p = float(reading.answers.log_probabilities[places[place]])
        rank = int(reading.answers.ranks[places[place]])
        figures = f" {probability(log_p):>11} {-log_p:>7.2f} {rank:>6}  "
        room = _COLUMNS - width - len(figures)
        yield [(token, _heat(log_p)), (figures, ""), (_fitting(told, room), "dim")]


def alternatives(reading: Reading, number: int) -> list[tuple[str, float]]:
    """The likeliest tokens at a scored place, and their log-probabilities."""
    names = reading.likeliest_symbols[number]
    values = reading.answers.of_likeliest[number].tolist()
    return list(zip(names, values, strict=True))


def probability(log_p: float) -> str:
    """A probability in a few characters."""
    p = math.exp(log_p)
    return f"{p:.4f}" if p >= 1e-4 or p == 0 else f"{p:.0e}"


def _heat(log_p: float) -> str:
    limits = ((0.5, "green"), (0.1, ""), (0.01, "yellow"))
    return next((style for least, style in limits if math.exp(log_p) >= least), "red")


def _fitting(told: list[tuple[str, float]], room: int) -> str:
    """As many alternatives as fit."""
    line = ""
    for symbol, log_p in told:
        more = f"{'  ' if line else ''}'{symbol}' {math.exp(log_p):.2f}"
        if cell_len(line + more) > room:
            break
        line += more
    return line


def _words(found: Decision) -> Iterator[Parts]:
    integrated = found.by_word(found.integrated)
    plain = found.by_word(found.gradient_times_input)
    width = min(2 * _WIDEST, max(map(cell_len, ["word", *(w for w, _ in integrated)])))
    head = f" {'integrated':>12} {'gradient x input':>17}"
    yield [(set_cell_size("word", width), "bold"), (head, "bold")]
    most = max(abs(value) for _, value in integrated) or 1.0
    for (word, value), (_, other) in zip(integrated, plain, strict=True):
        style = "" if abs(value) < most / 4 else "green" if value > 0 else "red"
        yield [(set_cell_size(word, width), style), (f" {value:>+12.4f}", style),
               (f" {other:>+17.4f}", "")]  # fmt: skip


def as_object(found: Inspected) -> dict[str, Any]:
    """All of it, for other programs; what is not scored is null."""
    made: dict[str, Any] = {"text": list(found.texts)}
    if found.reading is not None:
        made |= {"formulation": found.formulation, "seen_before": found.seen}
        count = len(found.reading.scored)
        total = found.reading.log_probability if count else None
        made |= {"log_probability": total, "scored": count}
        made |= {"tokens": [*_token_objects(found.reading, found.symbols)]}
    if found.decision is not None:
        made |= _decision_object(found.decision)
    return made | ({} if found.maps is None else {"attention": found.maps})


def _token_objects(reading: Reading, symbols: list[str]) -> Iterator[dict[str, Any]]:
    places = {int(place): k for k, place in enumerate(reading.scored)}
    for place, symbol in enumerate(symbols):
        made: dict[str, Any] = {"token": symbol, "id": int(reading.tokens[place])}
        number = places.get(place)
        if number is None:
            yield made | {"log_probability": None, "rank": None, "likeliest": []}
            continue
        yield made | {
            "log_probability": float(reading.answers.log_probabilities[number]),
            "rank": int(reading.answers.ranks[number]),
            "likeliest": [
                {"token": name, "log_probability": value}
                for name, value in alternatives(reading, number)
            ],
        }


def _decision_object(found: Decision) -> dict[str, Any]:
    values = found.integrated, found.gradient_times_input
    both = zip(*(found.by_word(each) for each in values), strict=True)
    made: dict[str, Any] = {
        "outputs": dict(zip(found.names, found.outputs.tolist(), strict=True)),
        "explained": found.names[found.chosen],
        "difference_from_baseline": found.difference,
        "gap": found.gap,
        "points": found.points,
        "cut": found.row.cut,
        "words": [
            {"word": word, "integrated_gradients": a, "gradient_times_input": b}
            for (word, a), (_, b) in both
        ],
        "tokens": found.symbols,
    }
    if len(found.names) > 1:
        shares = found.probabilities.tolist()
        made["probabilities"] = dict(zip(found.names, shares, strict=True))
    return made
