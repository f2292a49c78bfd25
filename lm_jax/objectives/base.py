"""What every objective says of itself, and what most say alike."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from lm_jax.errors import UserError


class ObjectiveBase:
    """The base of objectives: frozen dataclasses that add up what is learnt.

    An objective has ``predict``, which calls the model, ``__call__``, which sums a
    loss, and ``scores``, which turns the sums over a split, and the size of the text
    that its tokens code (`lm_jax.data.Coded`), into figures. What it needs of data and
    model it says in the attributes here, and one check compares them before anything
    is compiled.

    Attributes:
        reads: fields of the examples that it can't do without.
        may_read: fields that it reads where they are.
        calls: methods of the model that it calls, and the arguments that it hands
            each by name.
        causal: whether the model must see only what came before each token; None
            where it doesn't matter.
        generates: whether a model that has learnt it writes text.
        learns_vectors: whether what is learnt are the vectors of words.
        names: fields whose numbers are tokens or outputs that it looks up in a model of
            tables alone.
        weighs: the field of the examples that is 0 wherever nothing counts; "" where
            no field tells.
        nothing: why a split may have no target that counts, and what to do then.
        tells: the field that it tells of each example by itself, so that there is
            ``told(model, params, batch)``, (batch, outputs); "" where there is none.
        ranks: whether it learns vectors of queries and of passages, by which documents
            are found; rows of a batch meet, so that none has a score alone.
        unit: of its loss, in words.
        guide: the field that names a run whose model it reads beside the one that is
            trained: a `lm_jax.objectives.Guide`, its last argument; "" where none.
        guided_scores: whether its scores are made with that model too.
    """

    reads: ClassVar[tuple[str, ...]] = ("inputs", "targets")
    may_read: ClassVar[tuple[str, ...]] = ()
    calls: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    causal: ClassVar[bool | None] = None
    generates: ClassVar[bool] = False
    learns_vectors: ClassVar[bool] = False
    names: ClassVar[tuple[str, ...]] = ()
    weighs: ClassVar[str] = ""
    nothing: ClassVar[str] = "no target of it counts. Use a longer text"
    tells: ClassVar[str] = ""
    ranks: ClassVar[bool] = False
    unit: ClassVar[str] = "nats per token"
    guide: ClassVar[str] = ""
    guided_scores: ClassVar[bool] = False

    predict: ClassVar[Any]
    told: ClassVar[Any]
    scores: ClassVar[Any]
    __call__: ClassVar[Any]

    @property
    def across_rows(self) -> str:
        """The field that makes rows of a batch meet, so that it has no parts; or ""."""
        return ""

    def problems(self) -> Iterator[str]:
        """Say, in a sentence each, why these fields can't be."""
        yield from ()

    def unsuited(self, model: Any) -> Iterator[str]:
        """Say, in a sentence each, which fields of a model don't fit."""
        yield from ()

    def idle(self, rows: int | None, fields: Sequence[Any]) -> Iterator[str]:
        """Say, in a sentence each, why a batch would teach nothing.

        Args:
            rows: of a batch; None where it is counted otherwise.
            fields: of the examples, of `lm_jax.data.fields.Field`.
        """
        yield from ()

    def nothing_to_predict(self, split: str) -> UserError:
        """Give the refusal of a split whose targets weigh nothing: 0 is no loss."""
        return UserError(f"The split '{split}' has nothing to predict: {self.nothing}.")
