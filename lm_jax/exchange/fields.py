"""What stands in a config.json, and the fields of our models that say the same.

Each value here reads some keys into fields and writes the fields back as keys. A key
that nothing reads is refused by name, unless it decides no number of a model in use.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError
from lm_jax.models import Full, Learned

ABSENT: Any = object()
# Keys that change nothing that a model computes when it is not trained.
_IDLE = re.compile(
    "transformers_version|transformers\\.js_config|(torch_)?dtype|_name_or_path"
    "|use_cache|cache_implementation|initializer_.*|init_std|.*drop.*"
    "|(bos|eos|pad|sep|cls|mask|decoder_start|forced_\\w+)_token_id"
    "|force_bos_token_to_be_generated|gradient_checkpointing|_?attn_implementation.*"
    "|id2label|label2id|_?num_labels|problem_type|finetuning_task"
    "|task_specific_params|summary_.*|output_\\w+|return_dict|router_aux_loss_coef"
    "|router_jitter_noise|directionality|pooler_.*|tie_weights_|sinusoidal_pos_embds"
    "|num_beams|num_beam_groups|max_length|min_length|length_penalty|early_stopping"
    "|no_repeat_ngram_size|prefix|normalize_embedding|extra_pos_embeddings|n_ctx"
    "|bad_words_ids|pretraining_tp|tokenizer_class|max_window_layers|model_max_length"
    "|is_llama_config"
)


class Config:
    """The keys of a config.json, each to be read once.

    Args:
        values: by key.
        path: of the file, for messages.
        arrays: names of the arrays that stand beside it.
    """

    def __init__(
        self, values: Mapping[str, Any], path: Path, arrays: Sequence[str] = ()
    ):
        self.values, self.path, self.arrays = dict(values), path, frozenset(arrays)
        self._read = {"model_type", "architectures"}

    def take(self, key: str, default: Any = ABSENT) -> Any:
        """Give what a key says, or its default where it isn't there.

        Raises:
            UserError: it isn't there, and has no default.
        """
        self._read.add(key)
        value = self.values.get(key, default)
        if value is ABSENT:
            raise UserError(f"{self.path} lacks '{key}'.")
        return value

    def whole(self, key: str, default: Any = ABSENT) -> int:
        """Give a key's number, which must be a whole one.

        Raises:
            UserError: it isn't there, or is none.
        """
        value = self.take(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f"{self.path}: {key}={value!r} must be a number from 1.")
        return value

    def refuse(self, key: str, known: Sequence[Any]) -> UserError:
        """Say that a key has a value that our models don't know."""
        value = self.values.get(key)
        options = ", ".join(map(repr, known))
        return UserError(
            f"{self.path}: {key}={value!r}, and this is read with {options} alone."
        )

    def check_all_read(self) -> None:
        """See that every key was read, or decides nothing.

        Raises:
            UserError: with those that were not.
        """
        # What is off, or has no value, asks for nothing.
        left = [
            f"{key}={value!r}"
            for key, value in self.values.items()
            if key not in self._read and value and not _IDLE.fullmatch(key)
        ]
        if left:
            raise UserError(
                f"{self.path} says what our models don't know: {', '.join(left)}. "
                "Nothing of a checkpoint is left out unsaid, so it isn't read."
            )


class Unheld(Exception):
    """A field of ours has a value that an architecture has no key for."""


@dataclass(frozen=True)
class Key:
    """A key that says what a field says.

    Attributes:
        theirs: the key.
        ours: the field; "context" is the tokens that a model may see.
        default: of the key, where a file leaves it out.
    """

    theirs: str
    ours: str
    default: Any = ABSENT

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Give fields of ours; ``ours`` are those that were read before."""
        return {self.ours: config.take(self.theirs, self.default)}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Give keys of theirs.

        Raises:
            Unheld: there is none that says it; with the name of the field.
        """
        return {self.theirs: ours[self.ours]}


@dataclass(frozen=True)
class Size(Key):
    """A key that is a whole number from 1."""

    def read(self, config, ours):
        """Read it; null is the default."""
        if config.values.get(self.theirs) is None and self.default is None:
            return {self.ours: config.take(self.theirs, None)}
        return {self.ours: config.whole(self.theirs, self.default)}

    def write(self, ours):
        """Write it, where there is any."""
        if not ours[self.ours]:
            raise Unheld(self.ours)
        return {self.theirs: ours[self.ours]}


@dataclass(frozen=True)
class Fixed:
    """A key that must have one value: ours have no field for others.

    Attributes:
        theirs: the key.
        value: what it must be, and is where a file leaves it out.
        written: whether it is written: older versions need not have it.
    """

    theirs: str
    value: Any
    written: bool = True

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """See that it is so."""
        if config.take(self.theirs, self.value) != self.value:
            raise config.refuse(self.theirs, [self.value])
        return {}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write it."""
        return {self.theirs: self.value} if self.written else {}


@dataclass(frozen=True)
class LearnedPositions:
    """A table of positions, as long as the context.

    Attributes:
        theirs: the key of its length.
        first: rows of the table before the first position.
    """

    theirs: str
    first: int = 0
    default: Any = ABSENT

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Read the length."""
        length = config.whole(self.theirs, self.default) - self.first
        return {"positions": Learned(length), "context": length}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write the length."""
        if not isinstance(ours["positions"], Learned):
            raise Unheld("positions")
        return {self.theirs: ours["positions"].length + self.first}


@dataclass(frozen=True)
class FullAttention:
    """Every token is seen; a file says nothing of it."""

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Read nothing."""
        return {"attention": Full()}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write nothing; what differs is found when it is read back."""
        return {}
