"""The value that says which text, and what is held out of it."""

import os
from dataclasses import dataclass
from typing import Literal

from lm_jax.errors import UserError
from lm_jax.text.known import available
from lm_jax.text.splitting import Shares


@dataclass(frozen=True)
class Corpus:
    """A text, by name, path or Hugging Face id, and the shares held out of it."""

    source: str = "tinyshakespeare"
    """A shipped name, a known name below $LM_JAX_DATA, the path of a text,
    jsonl, csv, tsv, parquet or arrow file (.gz, .bz2, .xz, .zst too) or folder, a
    Hugging Face id, or the path of arrays of ids (.bin, as nanoGPT, llm.c and
    Megatron write them). Files and folders may lie in an object store (gs://, s3://):
    they are copied into the cache."""
    column: str = "text"
    """Column of the text in jsonl, csv, tsv, parquet and Hugging Face data."""
    config: str = ""
    """Configuration of a Hugging Face data set."""
    separator: str = ""
    """Cuts plain text into documents wherever it stands; it is dropped."""
    dtype: Literal["uint16", "uint32"] = "uint16"
    """Of the ids of a .bin file that doesn't say it itself."""
    validation: float = 0.1
    """Share for validation, where the corpus has no such split of its own."""
    test: float = 0.0
    """Share for a test split, where the corpus has no splits of its own."""

    @property
    def shares(self) -> Shares:
        """The shares that are held out."""
        return Shares(self.validation, self.test)

    def __post_init__(self) -> None:
        """Refuse a source that names nothing, and shares that leave no training."""
        _check_source(self.source)
        shares = (self.validation, self.test)
        if not (min(shares) >= 0 and sum(shares) < 1):
            raise UserError(
                f"Corpus(validation={self.validation}, test={self.test}): the "
                "shares must not be negative and leave some text for training: "
                "their sum must be below 1."
            )


def _check_source(source: str) -> None:
    try:
        source.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(source).decode("utf-8", "backslashreplace")
        raise UserError(
            f"The name {shown} is not UTF-8: a run could not write down what it was "
            "trained on. Give the file another name, or a link to it (ln -s)."
        ) from error
    longest = max(map(len, source.split("/")))
    if longest > 255:
        raise UserError(
            f"Corpus(source='{source[:60]}...'): no name is {longest:,} characters "
            f"long (data.corpus.source). {available()}"
        )
    if not source.strip() or "\0" in source:
        raise UserError(
            f"Corpus(source={source!r}) names no text (data.corpus.source; a whole "
            f"directory is '.'). {available()}"
        )
