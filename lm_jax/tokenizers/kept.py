"""A tokenizer that was trained before: another run's, on a text of any kind."""

from collections.abc import Iterable
from dataclasses import dataclass

from lm_jax.files import given_path
from lm_jax.tokenizers.saved import load_tokenizer
from lm_jax.tokenizers.specials import WithSpecials
from lm_jax.tokenizers.trained import Trained


@dataclass(frozen=True)
class Kept:
    """The tokenizer that a run keeps, as it was trained there."""

    run: str = ""
    """Directory of the run, or the path of a tokenizer.json."""

    def train(self, texts: Iterable[str], end: bool = False) -> Trained:
        """Read it; `texts` is not read, and documents end as they did there.

        Raises:
            UserError: the file is missing or is no tokenizer.
        """
        path = given_path(self.run, "data.tokenizer.run")
        tokenizer = load_tokenizer(path / "tokenizer.json" if path.is_dir() else path)
        # The data that hides tokens adds what it hides them by.
        return tokenizer.tokenizer if isinstance(tokenizer, WithSpecials) else tokenizer
