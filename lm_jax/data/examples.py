"""Rows of one text, or of a pair, and what is told of it."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int32, Int64, Shaped

from lm_jax.data.fields import Field, inputs, segments
from lm_jax.data.order import Buckets, sort_by_length
from lm_jax.data.randomness import uniform
from lm_jax.data.tokens import Progress, Tokenized, Tokens, tokenize
from lm_jax.data.windows import Row
from lm_jax.errors import UserError
from lm_jax.text.found import Text
from lm_jax.tokenizers import Tokenizer, Trained
from lm_jax.tokenizers.trained import Around


def check_lengths(lengths: tuple[int, ...]) -> None:
    """Refuse lengths that don't grow, or hold no token.

    Raises:
        UserError: naming them.
    """
    rising = all(a < b for a, b in pairwise((0, *lengths)))
    if not lengths or not rising:
        raise UserError(
            f"data.lengths={lengths}: give lengths of 1 token or more, the "
            "shortest first and none twice."
        )


def drawn(rows: int, limit: int | None) -> Int64[np.ndarray, " drawn"]:
    """Choose so many rows by chance, the same for every seed, in their order.

    A larger limit chooses those of a smaller one too.

    Raises:
        UserError: there are not so many.
    """
    if limit is None:
        return np.arange(rows)
    if limit > rows:
        raise UserError(
            f"data.limit={limit:,}: the training split has {rows:,} rows. Give fewer, "
            "or None for all."
        )
    return np.sort(np.argsort(uniform(0, "limit")(rows), kind="stable")[:limit])


def text_fields(told: Field) -> tuple[Field, ...]:
    """Give the fields of rows of texts.

    Args:
        told: what each row says of its text.
    """
    return (
        inputs("length"),
        segments("length"),
        told,
        Field("mask", (), "float32", "1 where the loss counts, 0 where it doesn't"),
    )


def read_examples(
    text: Text, tokenizer: Tokenizer, cache: Path, progress: Progress | None
) -> Tokenized:
    """Tokenize texts that are rows each; those of pairs get an end.

    Raises:
        UserError: as `tokenize`; a text has no token; pairs would run together.
    """
    paired = text.together > 1
    made = tokenize([text], tokenizer, paired, cache, progress)
    if paired and made.tokenizer.end_id is None:
        raise UserError(
            "The texts of a pair need a token between them, and this tokenizer has "
            "none that ends a document. Use Words(), Subwords() or Characters()."
        )
    for split, tokens in made.splits.items():
        lacks = np.diff(tokens.documents) <= (made.tokenizer.end_id is not None)
        if text.may_lack:
            lacks[1::2] = False
        empty = np.flatnonzero(lacks)
        if len(empty):
            raise UserError(
                f"Text {empty[0] // text.together + 1:,} of the split '{split}' has no "
                f"token ({len(empty):,} in all are so): there is nothing to read. "
                "Take it out, or use another tokenizer."
            )
    return made


def cut_statement(
    splits: Mapping[str, Tokens], longest: int, each: int, around: Around | None = None
) -> list[str]:
    """Say how many texts of each split are cut; nothing where none is.

    Args:
        splits: the texts.
        longest: tokens of the longest row.
        each: documents of a row.
        around: see `joined`.
    """
    cut = {
        split: int((sizes(tokens, each, around) > longest).sum())
        for split, tokens in splits.items()
    }
    total, what = sum(cut.values()), "pairs" if each > 1 else "texts"
    if not total:
        return []
    of = ", ".join(f"{n:,} of {split}" for split, n in cut.items() if n)
    return [f"{total:,} {what} are cut to {longest} tokens: {of}."]


def limit_statement(tokens: Tokens, limit: int | None, each: int) -> list[str]:
    """Say how many rows of the training split are learnt from; nothing where all."""
    if limit is None:
        return []
    rows = len(sizes(tokens, each))
    return [f"{limit:,} of the {rows:,} rows of training are learnt from."]


def sizes(
    tokens: Tokens, each: int, around: Around | None = None
) -> Int64[np.ndarray, " examples"]:
    """Give the tokens of each row, of so many documents, before any is cut."""
    own = np.diff(np.asarray(tokens.documents)[::each])
    return own if around is None else own + around.extra(each) - each


def text_buckets(
    tokens: Tokens,
    told: Mapping[str, Shaped[np.ndarray, " examples"]],
    lengths: tuple[int, ...],
    each: int = 1,
    limit: int | None = None,
    around: Around | None = None,
) -> Buckets:
    """Sort the texts of a split by their lengths.

    Args:
        tokens: of the split.
        told: fields of each row beside its tokens.
        lengths: of rows.
        each: documents of a row: 2 where these are pairs.
        limit: rows to draw; None takes all.
        around: see `joined`.

    Raises:
        UserError: there are not so many rows, or they have no room for a text.
    """
    ends = around.extra(each) if around else each * (each > 1)
    if lengths[-1] <= ends:
        raise UserError(
            f"data.lengths={lengths}: {ends} tokens of a row stand around its text, "
            f"and leave no room for it. Give {ends + 1} or more."
        )
    bounds, rows = np.asarray(tokens.documents), sizes(tokens, each, around)
    chosen = drawn(len(rows), limit)

    def row(number: int, length: int) -> Row:
        example = chosen[number]
        first = example * each
        parts = [tokens.ids[a:b] for a, b in pairwise(bounds[first : first + each + 1])]
        return {
            **side_by_side(joined(parts, length, around), length),
            **{name: values[example] for name, values in told.items()},
            "mask": np.array(1.0, np.float32),
        }

    return sort_by_length(rows[chosen], lengths, row)


def side_by_side(parts: list[np.ndarray], length: int) -> Row:
    """Give the "inputs" and "segments" of texts in one row, padded by zeros.

    Args:
        parts: the tokens of each text, together no more than the length.
        length: of the row.
    """
    texts = np.arange(1, len(parts) + 1, dtype=np.int32)
    ids, numbers = np.concatenate(parts), np.repeat(texts, [*map(len, parts)])
    missing = (0, length - len(ids))
    return {
        "inputs": np.pad(ids.astype(np.int32), missing),
        "segments": np.pad(numbers, missing),
    }


def joined(
    parts: list[np.ndarray], room: int, around: Around | None = None
) -> list[np.ndarray]:
    """Cut a text, or the two of a pair, so that they have so many tokens together.

    Of a pair the longer one is cut first, and the first keeps what can't be halved
    (Devlin et al. 2019 cut so too); what ends a text, or stands around it, stays.

    Args:
        parts: tokens of each text, with the end that is the last of those of a pair,
            and of a checkpoint's tokenizer.
        room: tokens of both, with what stands around them.
        around: what a checkpoint's tokenizer puts there, in the place of such ends.
    """
    if len(parts) == 1 and around is None:
        return [parts[0][:room]]
    texts = [part[:-1] for part in parts]
    before = around.before(len(parts)) if around else ((), ())
    ends = [[around.end] if around else part[-1:] for part in parts]
    kept = _shares([*map(len, texts)], room - sum(map(len, before)) - len(parts))
    return [
        np.concatenate([np.array(first, np.int32), text[:size], end])
        for first, text, size, end in zip(before, texts, kept, ends, strict=True)
    ]


def _shares(sizes: list[int], room: int) -> list[int]:
    """Share room among one text, or two: the longer one loses first."""
    if len(sizes) == 1:
        return [min(sizes[0], room)]
    first, second = sizes
    kept = min(second, max(room - first, room // 2))
    return [min(first, room - kept), kept]


def read_whole(
    tokenizer: Trained, ids: Int[np.ndarray, " tokens"]
) -> Int32[np.ndarray, " read"]:
    """Give the tokens that a body reads of a text: with what stands around it.

    Args:
        tokenizer: says what that is; else a text has the end of a document after it,
            where there is one.
        ids: of the text alone.
    """
    if (around := tokenizer.around) is not None:
        return np.array([*around.first, *ids, around.end], np.int32)
    end = [] if tokenizer.end_id is None else [tokenizer.end_id]
    return np.array([*ids, *end], np.int32)
