"""Score a trained model on a whole split of its corpus."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from lm_jax.bounds import check, within
from lm_jax.commands.as_json import print_json
from lm_jax.commands.options import read_options
from lm_jax.data import Coded
from lm_jax.errors import UserError
from lm_jax.evaluation import Evaluation, Fitted, Found, NeuralCache
from lm_jax.evaluation.predictions import (
    check_name,
    write_lines,
    write_predictions,
)
from lm_jax.experiment import AnyExperiment, read
from lm_jax.files import given_path
from lm_jax.runs.code import changed_code
from lm_jax.runs.confusion import draw_confusion
from lm_jax.runs.directory import find_run
from lm_jax.runs.display import Display
from lm_jax.runs.items import keep_items
from lm_jax.runs.model import load_model
from lm_jax.runs.result import add_scores
from lm_jax.runs.scored import corpus_of, entries
from lm_jax.training.fitting import (
    Elsewhere,
    check_finite,
    load_fitted,
    named_evaluation,
    split_of,
)


@dataclass(frozen=True)
class Options:
    """Score a trained model on a whole split: every token but the first, once.

    What the model sees before each token is said. The scores are added to
    result.json, with the step, text and windows that they are of; `table` shows those
    of the best and of the last checkpoint.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""
    split: Literal["train", "validation", "test"] = "validation"
    """Look at "test" once, when the recipe is fixed."""
    step: int | None = None
    """Checkpoint to score; the best one if not given."""
    evaluation: str = ""
    """Which of the run's evaluations to make; the one it watches if not given."""
    corpus: str = ""
    """Another text: a name, a path or an id; whole, where it has no splits."""
    context: int | None = None
    """Tokens that the model sees at most, where it can see others than in training."""
    stride: int | None = None
    """Score each token with at least context - stride before it: slower, and fairer
    to what reads windows. The context, if not given."""
    cache: int = 0
    """Words that a neural cache remembers, where a model carries its state."""
    cache_theta: float = NeuralCache().theta
    """How much more alike features count in the cache."""
    cache_weight: float = NeuralCache().weight
    """Share of the cache in the probabilities. Choose both on "validation"."""
    items: bool = False
    """Score each item alone too (a text, a window), and keep that in the run: `compare`
    and `report` then say what other items would have given. They look at last steps."""
    tasks: tuple[str, ...] = ()
    """Tasks of lm-evaluation-harness in place of a split: names, or YAML files that
    define one. Needs the extra `tasks`."""
    limit: int | None = within("[1, 2147483647]", None)
    """Examples of each of --tasks; all if not given."""
    predictions: str = ""
    """File for what is said of each text, a line each: .jsonl or .tsv."""
    json: bool = False
    """Print {"run", "step", "split", "text", "seen_before_each", "scores", "texts"};
    of a loss in nats "loss" is that of a token. Where classes are told apart,
    "confusion" has their labels and counts. With --tasks: {"run", "step", "results",
    "n-shot", "n-samples", "versions"}, as the harness has them."""

    def __post_init__(self) -> None:
        """Refuse what is of no task."""
        check(self, "evaluate")
        if self.limit is not None and not self.tasks:
            raise UserError("--limit is of examples of a task: give --tasks.")


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "evaluate", args)
    run = find_run(options.run)
    if options.tasks:
        _evaluate_tasks(options, run)
        return
    experiment = read(run)
    file = _file_of(options)
    evaluation = _chosen(options, experiment)
    elsewhere = Elsewhere(options.corpus, options.context, options.stride)
    if options.items and (elsewhere != Elsewhere() or options.cache):
        raise UserError(
            "--items keeps what runs are compared by: scores on their own text, as in "
            "training. Leave out --corpus, --context, --stride and --cache."
        )
    split: Any = options.split
    aside = Display(0, sys.stderr)
    with aside.waiting(f"reading {run}, and compiling"):
        fitted = load_fitted(run, options.step, elsewhere)
        if options.corpus:
            split = split_of(fitted, split)
            options = replace(options, split=split)
        found = evaluation.run(fitted, split, aside.work)
        items = fitted.items(split, aside.work) if options.items else None
        check_finite(found, fitted.step)
        if file is not None and found.lines:
            write_lines(file, found.lines)
        elif file is not None:
            write_predictions(file, fitted.predictions(split, aside.work))
    of: dict[str, Any] = {"split": split, "step": fitted.step}
    of |= {"text": fitted.data.text, "policy": fitted.policy}
    if items is not None:
        keep_items(run, items, **of)
    if options.json:
        print_json(_found(options, run, fitted, found))
    else:
        _show(options, run, experiment, fitted, found, Display(0))
    if (run / "result.json").exists():
        cached = str(evaluation) if options.cache else ""
        name = cached or options.evaluation or experiment.watch
        corpus = options.corpus or corpus_of(experiment.data)
        try:
            add_scores(run, entries({name: found}, corpus=corpus, **of))
        except UserError as error:
            raise UserError(f"{error} What stands above is not kept.") from error
        if not options.corpus:
            draw_confusion(run, found.more, split)


def _evaluate_tasks(options: Options, run: Path) -> None:
    """Print what the harness finds of its tasks."""
    other = replace(options, tasks=(), limit=None, step=None, json=False)
    if other != Options(options.run):
        raise UserError(
            "--tasks says all of what is evaluated: leave out all options but --limit, "
            "--step and --json."
        )
    from lm_jax.exchange.harness import harness_results, table_of  # an extra

    with Display(0, sys.stderr).waiting(f"reading {run}, and evaluating tasks"):
        model = load_model(run, options.step)
        found = harness_results(model, options.tasks, options.limit)
    if options.json:
        names = ("results", "n-shot", "n-samples", "versions")
        said = {name: found.get(name) for name in names}
        print_json({"run": run, "step": model.step, **said})
        return
    Display(0).header(f"{run}, step {model.step}", table_of(found))


def _file_of(options: Options) -> Path | None:
    """The file that predictions are written to, refused before anything is computed."""
    if not options.predictions:
        return None
    file = given_path(options.predictions, "--predictions")
    check_name(file)
    return file


def _chosen(options: Options, experiment: AnyExperiment) -> Evaluation:
    """The evaluation that the options ask for."""
    if options.cache:
        return NeuralCache(options.cache, options.cache_theta, options.cache_weight)
    return named_evaluation(experiment, options.evaluation)


def _found(options: Options, run: Path, fitted: Fitted, found: Found) -> dict:
    """What was found, for other programs."""
    return {
        "run": run,
        "step": fitted.step,
        "split": options.split,
        "text": fitted.data.text,
        "seen_before_each": fitted.policy,
        "scores": found.scores,
        "texts": found.texts,
        **found.more,
    }


def _show(
    options: Options,
    run: Path,
    experiment: AnyExperiment,
    fitted: Fitted,
    found: Found,
    display: Display,
) -> None:
    """Print what was found, and what was published."""
    scores, coded = found.scores, fitted.data.splits[options.split].coded
    rows = [("text", fitted.data.statement)] if options.corpus else []
    rows.append(("scored", _amount(scores, coded)))
    if "bits_per_byte" in scores and (bits := coded.unpredicted(scores["tokens"])):
        left = coded.tokens - scores["tokens"]
        told = f"{left:,} token{'s' * (left != 1)} with none before"
        of = f"one of {fitted.data.vocab_size:,}"
        rows.append(("not predicted", f"{told}: {bits:.2f} bits, as {of}"))
    forgotten = fitted.data.tokenizer.forgets
    if forgotten and "bits_per_byte" in scores:
        rows.append(("not coded", forgotten))
    cached = f", and a cache of {options.cache} words" if options.cache else ""
    rows.append(("seen before each", fitted.policy + cached))
    if changed := changed_code(run):
        rows.append(("code", changed))
    names = {"loss": "nats per token"} if "perplexity" in scores else {}
    rows += [
        (names.get(name, name.replace("_", " ")), f"{value:.6f}")
        for name, value in scores.items()
        if name != "tokens"
    ]
    if options.predictions:
        rows.append(("predictions", f"of each text, in {options.predictions}"))
    published = experiment.published
    same = not (options.corpus or options.context or options.stride)
    if same and published and published.split == options.split:
        name = published.score.replace("_", " ")
        rows.append(("published", f"{name} {published.value} ({published.source})"))
    what = f"{options.split} split"
    if options.corpus and list(fitted.data.splits) == ["train"]:
        what = "the whole text"
    display.header(f"{run}, step {fitted.step}, {what}", rows)
    for text in found.texts:
        print(text)


def _amount(scores: dict[str, Any], coded: Coded) -> str:
    """How many tokens were scored, of how much text."""
    tokens = f"{scores['tokens']:,} tokens of " if "tokens" in scores else ""
    given = f"{coded.bytes or coded.read:,} bytes"
    if not coded.read:
        given = "ids without their text"
    elif not coded.bytes:
        given += ", prompts and all"
    elif coded.read != coded.bytes:
        given += f" ({coded.read:,} as it was read)"
    return f"{tokens}{given}"
