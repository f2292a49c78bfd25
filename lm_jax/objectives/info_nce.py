"""Tell the passage that answers a query from others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from lm_jax.bounds import within
from lm_jax.objectives.base import ObjectiveBase
from lm_jax.objectives.sums import Sums, applied, penalties
from lm_jax.tokenizers.chunks import Coded


@dataclass(frozen=True)
class InfoNCE(ObjectiveBase):
    """Cross-entropy of the answer among the passages of a batch (van den Oord et al.
    2018, eq. 4; Karpukhin et al. 2020, eq. 2).

    Negatives are those of the whole batch, on however many devices it lies. A passage
    is no negative of a query that it answers: where it has the text of the answer, or
    of one in another row of the same query, whatever row it stands in.

    Its loss and accuracy over a split depend on the size of a batch: they say whether
    it learns, and `Ranking`, over the whole collection, says how well.

    Attributes:
        temperature: that similarities are divided by.
        negatives: "batch" takes the answers and hard negatives of all rows; "own" only
            the hard negatives of a query's own row, so that a batch may have parts.
    """

    temperature: float = within("(0, inf)", 0.05)
    negatives: Literal["batch", "own"] = "batch"

    reads: ClassVar[tuple[str, ...]] = (
        *("query_inputs", "query_segments", "passage_inputs", "passage_segments"),
        *("query", "passage", "mask"),
    )
    calls = {
        "query_vectors": ("segments", "dropout_keys"),
        "passage_vectors": ("segments", "dropout_keys"),
    }
    weighs = "mask"
    nothing = "no query of it has an answer. Give it queries with judgements above 0"
    unit = "nats per query"
    ranks = True

    @property
    def across_rows(self) -> str:
        """The field that makes rows of a batch meet."""
        return "negatives" if self.negatives == "batch" else ""

    def idle(self, rows: int | None, fields: Sequence[Any]) -> Iterator[str]:
        """Say where no query has a passage that its answer is told from: a loss of 0.

        Args:
            rows: of a batch.
            fields: of the examples.
        """
        (passages,) = (f.shape[0] for f in fields if f.name == "passage_inputs")
        hard = "Give hard negatives (--data.negatives FILE --data.hard N), or"
        if passages > 1:
            return
        if self.negatives == "own":
            yield (
                "objective.negatives='own' tells an answer from the hard negatives of "
                f"its row, and data.hard is 0. {hard} objective.negatives='batch'."
            )
        elif rows == 1:
            yield (
                "A batch of 1 row has one passage, and its query nothing to tell it "
                f"from. {hard} a --batch of 2 or more."
            )

    def predict(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch rows passages"], Any]:
        """Give the similarity of each query to each passage of each row."""
        queries = model.query_vectors(
            batch["query_inputs"],
            segments=batch["query_segments"],
            dropout_keys=dropout_keys,
        )
        rows, passages, time = batch["passage_inputs"].shape
        if dropout_keys is not None:
            each = jax.vmap(jax.random.fold_in, (None, 0))
            numbers = jnp.arange(1, passages + 1)
            dropout_keys = jax.vmap(each, (0, None))(dropout_keys, numbers).reshape(-1)
        vectors = model.passage_vectors(
            batch["passage_inputs"].reshape(-1, time),
            segments=batch["passage_segments"].reshape(-1, time),
            dropout_keys=dropout_keys,
        ).reshape(rows, passages, -1)
        return jnp.einsum("bw,rpw->brp", queries, vectors), carry

    def __call__(
        self,
        model: nn.Module,
        params: Any,
        batch: dict[str, Array],
        key: Key[Array, ""] | None,
        carry: Any = None,
    ) -> Sums:
        """Sum the loss of a batch.

        Args:
            model: maps queries and passages to vectors.
            params: its parameters.
            batch: "query_inputs" and "query_segments" (batch, time); "passage_inputs"
                and "passage_segments" (batch, passages, time), the answer first;
                "query" and "mask" (batch,) and "passage" (batch, passages), the
                numbers of their texts; "row" (batch,), the number of each example in
                the step's batch.
            key: of the step; None evaluates without dropout.
            carry: not used.

        Returns:
            Nats, over the number of queries.
        """
        (similar, carry), sown = applied(self, model, params, batch, key, carry)
        seen = self._seen(batch)
        logits = jnp.where(seen, similar / self.temperature, -jnp.inf)
        own = jnp.arange(len(logits))
        answer, mask = logits[own, own, 0], batch["mask"]
        logits = logits.reshape(len(logits), -1)
        nats = jax.nn.logsumexp(logits, axis=-1) - answer
        nats = jnp.where(mask > 0, nats, 0.0)
        # An equal one is as good a guess: a model that says nothing has no right ones.
        others = (logits >= answer[:, None]).sum(-1) == 1
        metrics = {"in_batch": nats.sum(), "first": (others * mask).sum()}
        loss = metrics["in_batch"] + penalties(sown, mask[:, None])
        return Sums(loss, mask.sum(), metrics, carry)

    def _seen(self, batch: dict[str, Array]) -> Bool[Array, "batch rows passages"]:
        """Say which passages a query's answer is told from; itself among them."""
        query, passage, real = batch["query"], batch["passage"], batch["mask"] > 0
        rows, passages = passage.shape
        itself = jnp.eye(rows, dtype=bool)[:, :, None]
        itself = itself & (jnp.arange(passages) == 0)[None, None]
        there = real[None, :, None] & (passage >= 0)[None]
        asks = jnp.eye(rows, dtype=bool)
        if self.negatives == "own":
            there = there & asks[:, :, None]
        else:  # the answers of a query are those of all rows that ask it
            asks = asks | ((query[:, None] == query[None]) & real[None])
        same_text = passage[:, :1, None] == passage[None]
        told = (each.astype(jnp.float32) for each in (asks, same_text))
        answers = jnp.einsum("bj,jrp->brp", *told) > 0
        return itself | (there & ~answers)

    def scores(self, sums: dict[str, float], text: Coded) -> dict[str, float]:
        """Give the nats over a whole split, and how often the answer came first."""
        queries = sums["weight"]
        return {
            "loss": sums["in_batch"] / queries,
            "in_batch_accuracy": sums["first"] / queries,
        }
