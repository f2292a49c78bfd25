"""Texts that a model writes of sources, for others to be compared with them."""

from collections.abc import Iterable, Sequence

from lm_jax.data.prepared import Source
from lm_jax.evaluation.fitted import Fitted, Progress
from lm_jax.generation import Beam, Sampling
from lm_jax.tokenizers.trained import written

LIKELIEST = Sampling(temperature=0.0)


def by_source(
    pairs: Iterable[tuple[Source, str]],
) -> tuple[list[Source], list[list[str]]]:
    """Give each source once, in their order, and all targets of each."""
    found: dict[Source, list[str]] = {}
    for source, target in pairs:
        found.setdefault(source, []).append(target)
    return list(found), list(found.values())


def write_texts(
    fitted: Fitted,
    sources: Sequence[Source],
    length: int,
    rows: int,
    *,
    sampling: Sampling = LIKELIEST,
    beam: Beam | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Write a text of each source, those of one length together.

    Args:
        fitted: the model, beside data that says what is asked.
        sources: that are read, a text each; an empty one gives its text too.
        length: tokens of a text, at most.
        rows: texts that are written at once.
        sampling: how a token is drawn; the likeliest one, if not said.
        beam: a search instead.
        progress: is told how many are written.
    """
    asked, tokenizer = fitted.data.asked, fitted.data.tokenizer
    assert asked is not None, "Data that has pairs says what is asked."
    ids = [asked(source, length) for source in sources]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    found = [""] * len(ids)
    for first in range(0, len(order), rows):
        if progress is not None:
            progress("writing", first, len(ids))
        chosen = order[first : first + rows]
        # The last few are filled up: so there is one number of rows.
        filled = [ids[i] for i in (chosen * rows)[:rows]]
        # Rows of two batches are drawn by other keys.
        seed = (fitted.seed + first) % 2**32
        new = fitted.generate(filled, length, sampling, seed, beam, to_end=True)
        for i, tokens in zip(chosen, new, strict=False):
            found[i] = written(tokenizer, tokens)
    return found
