"""Fit an experiment of either kind, and score what was fitted: what Python calls."""

import math
import warnings
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from lm_jax.adapting import dequantized, placed_as
from lm_jax.counting import BM25
from lm_jax.data import Passages, Prepared
from lm_jax.errors import NotFinite, UserError, nearest
from lm_jax.evaluation import Evaluation, Fitted, Found
from lm_jax.experiment import AnyExperiment, CountExperiment, Named, load, read
from lm_jax.files import given_path
from lm_jax.mesh import make_mesh
from lm_jax.objectives import Guide
from lm_jax.runs.checkpoints import has_checkpoint
from lm_jax.runs.claim import check_data
from lm_jax.runs.code import changed_code
from lm_jax.runs.display import Display
from lm_jax.runs.guide import check_guide
from lm_jax.runs.model import CountedModel, NeuralModel, load_model
from lm_jax.runs.result import read_result
from lm_jax.sharding import Sharding, state_shardings
from lm_jax.text import Corpus
from lm_jax.text.known import KNOWN
from lm_jax.tokenizers import Kept, Pretrained
from lm_jax.training.counting import beside_text, count_run
from lm_jax.training.guides import find_guide
from lm_jax.training.run import train_run
from lm_jax.training.scoring import Scored, compile_evaluation, compile_told
from lm_jax.training.setup import CACHE, set_up


@dataclass(frozen=True)
class Elsewhere:
    """What a model is scored on in place of what it was fitted to.

    Attributes:
        corpus: a name, path or id, as of `Corpus`; "" is the run's own.
        context: tokens that the model sees at most; None is as in training.
        stride: tokens between two windows: each token is scored once, with at least
            context - stride before it but at the beginning. None is the context.
    """

    corpus: str = ""
    context: int | None = None
    stride: int | None = None


def train(
    experiment: AnyExperiment | Named | Path | str,
    run: Path | str | None = None,
    display: Display | None = None,
) -> dict[str, Any]:
    """Train an experiment in a run directory, or go on with it.

    Args:
        experiment: by steps or by counting; "FILE.py" and "FILE.py:VARIANT" are loaded.
        run: its directory; of what was loaded, None is where the command has it.
        display: what a person sees; lines of progress, if None.

    Returns:
        What result.json says; of a run that was interrupted, nothing.

    Raises:
        UserError: for anything that the user can mend.
    """
    if isinstance(experiment, Path | str):
        experiment = load(str(experiment))
    if isinstance(experiment, Named):
        run = experiment.run if run is None else run
        experiment = experiment.experiment
    if run is None:
        raise UserError(
            "An experiment doesn't say where it is trained: give a directory, as in "
            'train(experiment, "runs/mine").'
        )
    run = given_path(run, "The run's directory")
    if isinstance(experiment, CountExperiment):
        count_run(experiment, run, display or Display(0))
        return read_result(run)
    display = display or Display(0)
    fresh = not has_checkpoint(run)
    setup = set_up(experiment, progress=display.work, fresh=fresh, run=run)
    display.close()
    outcome = train_run(experiment, run, setup, Display(setup.total))
    return {} if outcome.signal is not None else read_result(run)


def evaluate(
    run: Path | str,
    evaluation: Evaluation | str = "",
    split: str = "validation",
    step: int | None = None,
    corpus: str = "",
    context: int | None = None,
    stride: int | None = None,
) -> Found:
    """Make an evaluation of a run; warns where its code was another.

    Args:
        run: its directory.
        evaluation: a value, or the name of one of the run's; what it watches, if "".
        split: of its corpus.
        step: of the checkpoint; None takes the best one.
        corpus, context, stride: another text, or other windows of it, as `Elsewhere`.

    Raises:
        UserError: when it can't be made.
    """
    run = given_path(run, "The run's directory")
    if changed := changed_code(run):
        warnings.warn(changed, stacklevel=2)
    if isinstance(evaluation, str):
        evaluation = named_evaluation(read(run), evaluation)
    fitted = load_fitted(run, step, Elsewhere(corpus, context, stride))
    split = split_of(fitted, split) if corpus else split
    found = evaluation.run(fitted, split)
    check_finite(found, fitted.step)
    return found


def check_finite(found: Found, step: int) -> None:
    """Refuse scores that say nothing. A loss may be infinite: what was impossible came.

    Raises:
        NotFinite: a score is not a number.
    """
    if bad := [name for name, value in found.scores.items() if math.isnan(value)]:
        raise NotFinite(
            f"At step {step}, {bad[0].replace('_', ' ')} is not a number: the "
            "parameters are not finite, or too large. Take an earlier checkpoint "
            "(--step)."
        )


def split_of(fitted: Fitted, split: str) -> str:
    """The split to score: all of a text that has no splits of its own."""
    whole = list(fitted.data.splits) == ["train"]
    return "train" if whole else split


def named_evaluation(experiment: AnyExperiment, name: str) -> Evaluation:
    """One of an experiment's evaluations; the one that it watches, if "".

    Raises:
        UserError: there is none of that name.
    """
    name = name or experiment.watch
    if name not in experiment.evaluations:
        there = nearest(name, experiment.evaluations)
        raise UserError(f"The run has no evaluation '{name}'.{there}")
    return experiment.evaluations[name]


def beside(
    loaded: NeuralModel | CountedModel, data: Prepared, guide: Guide | None = None
) -> Fitted:
    """Put a model beside a text that it can be scored on, on all devices.

    Args:
        loaded: the model.
        data: the text.
        guide: the model of another run, where its objective's scores need that.

    Raises:
        UserError: the text has tokens that the model has no vector for.
    """
    if isinstance(loaded, CountedModel):
        return beside_text(loaded, data)
    known = getattr(loaded.model, "vocab_size", 0)
    if known and data.vocab_size > known:
        raise UserError(
            f"{type(loaded.experiment.data).__name__} makes texts of "
            f"{data.vocab_size:,} tokens, and the model knows {known:,}: it was "
            "trained on texts of another kind, and is not scored on these."
        )
    loaded, sharding, mesh = _spread(loaded)
    what = loaded.model, loaded.experiment.objective, sharding, mesh
    functions = compile_evaluation(*what, guide and guide.model), compile_told(*what)
    if guide is not None:
        guide = guide._replace(params=_placed(guide.params, sharding, mesh))
    return Scored(loaded, data, mesh, *functions, guide)


def _spread(loaded: NeuralModel) -> tuple[NeuralModel, Sharding, Mesh]:
    """Spread a model over the devices that are here, as its run did if they allow."""

    def over(sharding: Sharding) -> tuple[NeuralModel, Sharding, Mesh]:
        mesh = make_mesh(sharding, jax.devices())
        params = _placed(loaded.params, sharding, mesh)
        return replace(loaded, params=params), sharding, mesh

    try:
        return over(loaded.experiment.execution.sharding)
    except UserError:
        return over(Sharding())


def _placed(params: Any, sharding: Sharding, mesh: Mesh) -> Any:
    whole = {"params": jax.eval_shape(dequantized, params)}
    places = state_shardings(sharding, mesh, whole)["params"]
    return jax.device_put(params, placed_as(params, places))


def load_fitted(
    run: Path, step: int | None = None, elsewhere: Elsewhere = Elsewhere()
) -> Fitted:
    """Read the fitted model of a run, beside a text.

    Args:
        run: its directory.
        step: of the checkpoint; None takes the best one.
        elsewhere: another text, or other windows of it.

    Raises:
        UserError: when it can't be read, the text is another now, or can't be read
            in such windows.
    """
    loaded = load_model(run, step)
    if elsewhere.corpus and isinstance(loaded.experiment.model, BM25):
        raise UserError(
            "--corpus: BM25 has weighed the terms of its own documents. Count those: "
            "train with --data.corpus.source."
        )
    asked = loaded.experiment.data
    text = _text_of(asked, run, elsewhere, loaded.labels)
    data = text.prepare(CACHE)
    if not elsewhere.corpus:
        tokenizers = [getattr(each, "tokenizer", None) for each in (text, asked)]
        check_data(data, run, tokens=tokenizers[0] == tokenizers[1])
    if isinstance(loaded, NeuralModel) and elsewhere.context is not None:
        loaded = replace(loaded, model=refilled(loaded, data.context))
    return beside(loaded, data, _guide_of(loaded, data, run))


def _guide_of(loaded: Any, data: Prepared, run: Path) -> Guide | None:
    """Read the run that a run's scores are made with, if they are.

    Raises:
        UserError: it can't be read, or isn't what it was.
    """
    objective = getattr(loaded.experiment, "objective", None)
    if objective is None or not objective.guided_scores:
        return None
    guided = find_guide(objective, data)
    check_guide(run, guided.about())
    return Guide(guided.model, guided.params)


def _text_of(
    data: Any, run: Path, elsewhere: Elsewhere, labels: tuple[str, ...]
) -> Any:
    """The data value that a model is scored on; labels mean what they did there."""
    changes: dict[str, Any] = {}
    names = {field.name for field in fields(data)}
    if elsewhere.corpus:
        if "corpus" not in names:
            raise UserError(
                f"--corpus: {type(data).__name__} has no one corpus that another could "
                "stand for."
            )
        changes |= _collected(data, elsewhere.corpus)
        changes |= {"classes": labels} if labels else {}
    # A run has the tokenizer that it took from another place, which may be no more.
    if elsewhere.corpus or isinstance(
        getattr(data, "tokenizer", None), Kept | Pretrained
    ):
        changes["tokenizer"] = Kept(str(run))
    for name in ("context", "stride"):
        value = getattr(elsewhere, name)
        if value is None:
            continue
        if name not in names:
            raise UserError(
                f"--{name}: {type(data).__name__} is not read in windows that could be "
                "others. Leave it out."
            )
        changes[name] = value
    return replace(data, **changes)


# What of a corpus is learnt from, or held out, and what else is: another is read whole.
_WHOLE = {
    "limit": None,
    "synthetic": "",
    "fold": None,
    "titles": False,
    "negatives": "",
    "hard": 0,
}


def _collected(data: Any, source: str) -> dict[str, Any]:
    """The fields of a data value that name another corpus, whole.

    Raises:
        UserError: documents are to be found, and it is of another kind.
    """
    names = {field.name for field in fields(data)}
    whole = {name: value for name, value in _WHOLE.items() if name in names}
    own = data.corpus
    if isinstance(data, Passages):
        if source in KNOWN and not Path(source).exists():
            raise UserError(
                f"--corpus: '{source}' is no collection of documents with queries, "
                "which is what this run reads. For what is imported that is chosen "
                f"then: import it again with --corpus {source}"
            )
        return {"corpus": replace(own, source=source), **whole}
    other = Corpus(source, own.column, validation=0.0, dtype=own.dtype)
    return {"corpus": other, **whole}


def refilled(loaded: NeuralModel, context: int) -> Any:
    """The model for texts of another length.

    Raises:
        UserError: its positions end before.
    """
    try:
        return loaded.model.filled(loaded.model.vocab_size, context)
    except ValueError as error:
        raise UserError(f"--context {context}: {error}") from error
