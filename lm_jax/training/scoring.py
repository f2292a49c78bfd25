"""A trained model beside the text that it is scored on."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float32

from lm_jax.data import Prepared
from lm_jax.errors import UserError
from lm_jax.evaluation.fitted import Progress
from lm_jax.evaluation.items import Items, each_row
from lm_jax.evaluation.neural_cache import (
    NOT_CARRIED,
    NeuralCache,
    empty_cache_carry,
    make_cache_step,
)
from lm_jax.evaluation.predictions import Predictions, gathered
from lm_jax.evaluation.ranking import NOT_RANKED
from lm_jax.evaluation.rankings import Rankings
from lm_jax.evaluation.whole_split import summed
from lm_jax.generation import Beam, Sampling
from lm_jax.mesh import make_mesh
from lm_jax.objectives import Guide
from lm_jax.platform import products_of
from lm_jax.retrieval.nearest import nearest_rows
from lm_jax.retrieval.reading import read_texts
from lm_jax.runs.model import NeuralModel
from lm_jax.sharding import (
    Sharding,
    batch_sharding,
    brought_here,
    on_mesh,
    row_ways,
    whole_to_mesh,
)
from lm_jax.training.step import make_evaluation_step

EVALUATION_TOKENS = 8192


@dataclass(frozen=True, eq=False)
class Scored:
    """What evaluations see of a trained model; see `Fitted`.

    Attributes:
        loaded: the model.
        data: the text.
        mesh: where it is scored.
        step_function: the compiled evaluation step.
        told_function: (params, batch) -> what the objective tells of each example;
            None where it tells nothing.
        guide: the model that scores are made with too, where they are; the evaluation
            step takes its parameters last.
    """

    loaded: NeuralModel
    data: Prepared
    mesh: Mesh
    step_function: Callable[..., tuple[dict, Any]]
    told_function: Callable[[Any, dict], jax.Array] | None = None
    guide: Guide | None = None
    _found: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Of the parameters."""
        return self.loaded.step

    @property
    def seed(self) -> int:
        """Of the experiment."""
        return self.loaded.experiment.seed

    @property
    def writes(self) -> bool:
        """Whether the model continues text."""
        return self.loaded.writes

    @functools.cached_property
    def _here(self) -> NeuralModel:
        """The model as this process alone can use it: each of several writes alike."""
        if not self.mesh.is_multi_process:
            return self.loaded
        return replace(self.loaded, params=brought_here(self.loaded.params))

    @property
    def _mesh_here(self) -> Mesh:
        """The devices of this process."""
        several = self.mesh.is_multi_process
        return make_mesh(Sharding(), jax.local_devices()) if several else self.mesh

    @property
    def policy(self) -> str:
        """What the model sees before a token that it is scored on."""
        return seen_before(self.data)

    def generate(
        self,
        prompts: list[np.ndarray],
        length: int,
        sampling: Sampling,
        seed: int,
        beam: Beam | None = None,
        to_end: bool = False,
    ) -> Sequence[np.ndarray] | np.ndarray:
        """Continue prompts of (tokens,): new tokens of each."""
        here = self._here
        return here.generate_ids(prompts, length, sampling, seed, beam, to_end)

    def vectors(self) -> tuple[list[str], Float32[np.ndarray, "words width"]]:
        """Give the words that have a vector of their own, and the vectors."""
        return self._here.vectors()

    def score(self, split: str, progress: Progress | None = None) -> dict[str, float]:
        """Score a whole split, as the objective says; once, however often asked."""
        if split not in self._found:
            empty = self.loaded.model.empty_cache if self.data.lanes else None
            step, params = self._guided(self.step_function)
            self._found[split] = self._sums(
                split, step, params, progress, empty and (lambda n: empty(n, 0))
            )
        return self._found[split]

    def predictions(self, split: str, progress: Progress | None = None) -> Predictions:
        """Give what is said of each example of a split, in its order.

        Raises:
            UserError: when the objective tells nothing of an example by itself.
        """
        objective = self.loaded.experiment.objective
        if self.told_function is None:
            raise UserError(
                f"{type(objective).__name__} tells nothing of an example by itself, "
                "as Classify() and Regress() do."
            )
        return gathered(self._told(split, progress), self.data.labels)

    def _told(
        self, split: str, progress: Progress | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """What is expected and told of the examples of each batch."""
        told = self.told_function
        assert told is not None
        field = self.loaded.experiment.objective.tells
        windows = self.data.evaluation(split, self._rows)
        say = progress or (lambda *_: None)
        for index in range(len(windows)):
            batch, examples = windows[index], windows.numbers(index)
            found = np.asarray(
                told(self.loaded.params, whole_to_mesh(batch, self.mesh))
            )
            yield examples, batch[field][: len(examples)], found[: len(examples)]
            say("evaluating", index + 1, len(windows))

    def rankings(
        self, split: str, depth: int, progress: Progress | None = None
    ) -> Rankings:
        """Find the best documents, at most so many, for each query of a split.

        The whole collection is read and searched.

        Raises:
            UserError: when the objective learns no vectors of queries and passages.
        """
        searchable, loaded, mesh = self.data.searchable, self._here, self._mesh_here
        if not loaded.experiment.objective.ranks or searchable is None:
            raise UserError(NOT_RANKED)
        self.data.evaluation(split, 1)  # refuses a split that isn't there
        model, params = loaded.model, loaded.params
        length, asked = searchable.query_length, searchable.queries[split]
        queries = read_texts(model, params, asked, "query", length, mesh)
        table = read_texts(
            model,
            params,
            searchable.passages,
            "passage",
            searchable.passage_length,
            mesh,
            progress,
        )
        found = nearest_rows(queries, table, depth, mesh)
        judged = searchable.judged
        return Rankings(judged, list(judged.queries[split]), *found)

    def score_with_cache(
        self,
        split: str,
        cache: NeuralCache,
        progress: Progress | None = None,
    ) -> dict[str, float]:
        """Score a whole split with a cache of the words before.

        Raises:
            UserError: when the batches of an evaluation don't continue each other.
        """
        if not self.data.lanes:
            raise UserError(NOT_CARRIED)
        model = self.loaded.model
        return self._sums(
            split,
            jax.jit(make_cache_step(model, cache)),
            self.loaded.params,
            progress,
            lambda rows: empty_cache_carry(model, self.loaded.params, cache, rows),
        )

    def items(self, split: str, progress: Progress | None = None) -> Items:
        """Score each row of a split alone.

        Raises:
            UserError: when rows continue each other.
        """
        if self.data.lanes:
            raise UserError(
                "--items: a state that is carried from row to row makes them one text, "
                "and no items. Compare by seeds, or by windows read alone."
            )
        model, objective = self.loaded.model, self.loaded.experiment.objective
        if objective.ranks:
            raise UserError(
                "--items: queries are scored against those beside them, and none has a "
                "score alone. Compare by seeds."
            )
        batches = self.data.evaluation(split, self._rows)
        other = self.guide and self.guide.model
        step, params = self._guided(make_evaluation_step(model, objective, other))
        return each_row(step, params, batches, self.mesh, progress)

    def _guided(self, step: Callable[..., tuple[dict, Any]]) -> tuple[Callable, Any]:
        """An evaluation step of (parameters, batch, carry), and these parameters."""
        if self.guide is None:
            return step, self.loaded.params

        def of_both(both: tuple[Any, Any], batch: dict, carry: Any) -> Any:
            return step(both[0], batch, carry, both[1])

        return of_both, (self.loaded.params, self.guide.params)

    @property
    def _rows(self) -> int:
        """Rows of a batch: as many as a part of a training step, and some tokens."""
        experiment, data = self.loaded.experiment, self.data
        rows = data.rows(experiment.seed_of("order"), experiment.batch)
        part = rows // experiment.execution.accumulate
        ways = row_ways(experiment.execution.sharding, self.mesh)
        size = data.lanes or max(part, EVALUATION_TOKENS // data.context)
        return -(-size // ways) * ways

    def _sums(
        self,
        split: str,
        function: Callable[[Any, dict, Any], tuple[dict, Any]],
        params: Any,
        progress: Progress | None,
        empty: Callable[[int], Any] | None,
    ) -> dict[str, float]:
        """Sum over a split, in batches as large as a part of a training step.

        Raises:
            UserError: when no target of the split counts.
        """
        experiment, data, size = self.loaded.experiment, self.data, self._rows
        windows = data.evaluation(split, size)
        carry = whole_to_mesh(empty(size), self.mesh) if empty else None
        sums = summed(function, params, windows, self.mesh, carry, progress)
        if sums["weight"] == 0:
            raise experiment.objective.nothing_to_predict(split)
        return experiment.objective.scores(sums, data.splits[split].coded)


def seen_before(data: Prepared) -> str:
    """What a model sees before a token that it is scored on, read as data says."""
    if data.lanes:
        return f"all tokens before, in {data.lanes} lanes read side by side"
    if data.buckets is not None:
        return f"the text, up to {data.context} tokens"
    return data.policy or f"disjoint windows of {data.context} tokens"


def compile_evaluation(
    model: Any,
    objective: Any,
    sharding: Sharding,
    mesh: Mesh,
    guide: Any = None,
) -> jax.stages.Wrapped:
    """Jit the evaluation step; nothing is compiled yet. See `make_evaluation_step`."""
    step = on_mesh(make_evaluation_step(model, objective, guide), sharding, mesh)
    return jax.jit(step, out_shardings=(None, batch_sharding(mesh)))


def compile_told(
    model: Any, objective: Any, sharding: Sharding, mesh: Mesh
) -> jax.stages.Wrapped | None:
    """Jit what an objective tells of each example; nothing is compiled yet."""
    if not objective.tells:
        return None

    def told(params: Any, batch: dict) -> jax.Array:
        with products_of(model):
            return objective.told(model, params, batch)

    whole = NamedSharding(mesh, PartitionSpec())
    return jax.jit(on_mesh(told, sharding, mesh), out_shardings=whole)
