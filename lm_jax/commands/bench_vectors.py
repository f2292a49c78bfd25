"""Measure word vectors: what they are worth and how fast they come, beside gensim."""

import importlib.util
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lm_jax.commands.options import read_options
from lm_jax.data import batches
from lm_jax.data.contexts import HuffmanTree, Noise, WordContexts, known_words
from lm_jax.data.cooccurrence import Cooccurrences, count_pairs
from lm_jax.data.tokens import tokenize
from lm_jax.durations import Units
from lm_jax.errors import UserError
from lm_jax.evaluation.word_similarity import word_scores
from lm_jax.mesh import make_mesh
from lm_jax.models.stack import initialise
from lm_jax.models.word_vectors import GlobalVectors, WordVectors
from lm_jax.objectives.word_vectors import BagOfWords, GloVe, SkipGram
from lm_jax.optimizers import AdamW, RMSProp, transformation
from lm_jax.schedules import WarmupLinear
from lm_jax.sharding import Sharding, on_mesh, to_mesh
from lm_jax.text import Corpus, find
from lm_jax.text.known import KNOWN
from lm_jax.text.reading import blocks
from lm_jax.tokenizers import Words
from lm_jax.training.rows import on_rows
from lm_jax.training.state import first_state
from lm_jax.training.step import make_train_step, named_key

SCORES = {
    "WordSim": "wordsim353/spearman",
    "SimLex": "simlex999/spearman",
    "MEN": "men/spearman",
    "Google": "google/accuracy",
}
WIDTH, WINDOW, NEGATIVES, MIN_COUNT = 100, 5, 5, 5


@dataclass(frozen=True)
class Options:
    """Train word vectors on the beginning of text8, here and with gensim."""

    megabytes: int = 5
    """Size of the text, in millions of bytes."""
    epochs: int = 15
    """Passes over the text."""
    seeds: int = 3
    """Runs of each."""
    subsample: float = 1e-3
    """Words of a larger share of the text than this are thinned out."""
    trees: bool = False
    """Measure hierarchical softmax too."""


class Recipe(NamedTuple):
    """What is trained, and how."""

    data: WordContexts | Cooccurrences
    model: nn.Module
    objective: SkipGram | BagOfWords | GloVe
    optimizer: AdamW | RMSProp
    peak: float
    batch: int
    epochs: int
    gensim: dict[str, int]
    """What gensim calls the same."""


class Measured(NamedTuple):
    """Scores and seconds of one training."""

    scores: dict[str, float]
    seconds: float


def main(args: list[str]) -> None:
    """Print the scores and words a second of each, gensim's beneath."""
    options = read_options(Options, "bench vectors", args)
    if min(options.megabytes, options.epochs, options.seeds) < 1:
        raise UserError("megabytes, epochs and seeds must be 1 or more.")
    source, judged = _folder("text8"), _folder("wordvectors")
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "text")
        text.write_text(_beginning(source, options.megabytes * 1_000_000))
        counts = Counter(text.read_text().split())
        frequent = [n for n in counts.values() if n >= MIN_COUNT]
        print(
            f"{sum(frequent):,} words of text8, {len(frequent):,} different; "
            f"width {WIDTH}, window {WINDOW}, {NEGATIVES} negatives, {options.epochs} "
            f"epochs, subsampling {options.subsample:g}, {options.seeds} seeds\n"
        )
        print(f"{'':<28}" + "".join(f"{name:>14}" for name in SCORES) + "   words/s")
        for name, recipe in recipes(options, str(text), len(frequent) + 1).items():
            for side, train in _sides(recipe, text, Path(folder), options.subsample):
                runs = [_scored(train(seed), judged) for seed in range(options.seeds)]
                words = sum(frequent) * recipe.epochs * len(runs)
                rate = words / sum(run.seconds for run in runs)
                print(f"{name:<18}{side:<10}" + _row(runs) + f"{rate:>10,.0f}")
        print(
            "\nMean and half the range over the seeds. Words of the vocabulary and "
            "epochs a\nsecond of training; compiling is counted, reading and counting "
            "words is not.\n"
        )
        # GloVe is the last.
        print(_counting(recipe, sum(frequent), rate, Path(folder)))


def _counting(recipe: Recipe, words: int, rate: float, cache: Path) -> str:
    """Say how fast GloVe counts and trains, and what its authors have measured."""
    text = find(recipe.data.corpus, cache)
    made = tokenize([text], recipe.data.tokenizer, text.documents, cache)
    known, ids = known_words(made), made.splits["train"].ids
    begin = time.perf_counter()
    pairs = count_pairs(ids, known.counts > 0, known.ends, 2 * WINDOW)
    counted, met = words / (time.perf_counter() - begin), len(pairs.counts)
    return (
        f"GloVe counts {counted:,.0f} words a second, {met:,} pairs, and trains on\n"
        f"{rate * met / words:,.0f} pairs a second. Its own program, as Pennington et "
        "al. 2014 (4.6)\nhave it: 6 billion words, 400,000 different, are counted in "
        "85 minutes by one thread\n(1.2 million a second), and an iteration over them "
        "takes 14 minutes on 32 cores,\nof width 300."
    )


def _folder(name: str) -> Path:
    root = KNOWN["text8"].root
    if root is None or not (root.parent / name).is_dir():
        raise UserError(
            f"This bench needs the folder '{name}' below $LM_JAX_DATA, which is "
            f"{root.parent if root else 'not set'}."
        )
    return root.parent / name


def _beginning(source: Path, characters: int) -> str:
    """Read the beginning of the text in a folder, plain or compressed."""
    files = KNOWN["text8"].found(source)
    if not files:
        raise UserError(f"The folder {source} has no files: text8 belongs there.")
    text = ""
    for block in blocks(files[0]):
        text += block
        if len(text) >= characters:
            break
    return text[:characters]


def recipes(options: Options, text: str, vocab_size: int) -> dict[str, Recipe]:
    """Give what is measured, by name."""
    corpus, words = Corpus(text, validation=0.0), Words(size=vocab_size)
    noise = Noise(NEGATIVES, shared=32)
    contexts = WordContexts(corpus, words, WINDOW, options.subsample, noise)
    tree = WordContexts(corpus, words, WINDOW, options.subsample, HuffmanTree())
    model, epochs = WordVectors(WIDTH), options.epochs
    noisy, found = {"negative": NEGATIVES}, {"negative": 0, "hs": 1}
    skip, bag = {"sg": 1}, {"sg": 0}
    adam, rows = AdamW(weight_decay=0.0, clip=None), RMSProp(clip=None)

    def recipe(data, objective, optimizer, theirs) -> Recipe:
        return Recipe(data, model, objective, optimizer, 1e-2, 4, epochs, theirs)

    made = {
        "skip-gram": recipe(contexts, SkipGram(), rows, noisy | skip),
        "CBOW": recipe(contexts, BagOfWords(), rows, noisy | bag),
    }
    if options.trees:
        made |= {
            "skip-gram, tree": recipe(tree, SkipGram(), adam, found | skip),
            "CBOW, tree": recipe(tree, BagOfWords(), adam, found | bag),
        }
    # GloVe's own window: Pennington et al. take 10 words on each side, not 5.
    pairs = Cooccurrences(corpus, words, 2 * WINDOW)
    glove = Recipe(pairs, GlobalVectors(WIDTH), GloVe(10.0), adam, 1e-2, 2, epochs, {})
    return made | {f"GloVe, window {2 * WINDOW}": glove}


class Vectors(NamedTuple):
    """What a training gives."""

    words: list[str]
    vectors: np.ndarray
    seconds: float


def _sides(
    recipe: Recipe, text: Path, cache: Path, subsample: float
) -> Iterator[tuple[str, Callable[[int], Vectors]]]:
    """Give lm_jax's way to train with a seed, and gensim's where there is one."""
    yield "lm_jax", lambda seed: train(recipe, seed, cache)
    if importlib.util.find_spec("gensim") and recipe.gensim:
        yield "gensim", lambda seed: train_gensim(recipe, seed, text, subsample)


def train(recipe: Recipe, seed: int, cache: Path) -> Vectors:
    """Train by the project's own step, as `train` does, without evaluations."""
    data = recipe.data.prepare(cache)
    model = recipe.model.clone(vocab_size=data.vocab_size)
    mesh = make_mesh(Sharding(), jax.devices()[:1])
    epoch = data.examples(recipe.batch) / recipe.batch
    total = int(epoch * recipe.epochs)
    schedule = WarmupLinear(recipe.peak)
    curve = schedule.curve(total, Units(recipe.batch * data.context, epoch, 1.0))
    key = named_key(seed, "parameters")
    params = initialise(model, key, jnp.zeros((1, 2), jnp.int32))
    rule = transformation(recipe.optimizer, curve, params)
    state = first_state(params, rule)

    still = recipe.optimizer.still

    def make(model: nn.Module) -> Callable:
        return make_train_step(
            model, recipe.objective, rule, curve, seed=seed, products=still
        )

    step = on_rows(make, model, recipe.objective.names) if still else make(model)
    compiled = jax.jit(on_mesh(step, Sharding(), mesh), donate_argnums=0)
    begin = time.perf_counter()
    metrics: dict[str, Any] = {"loss": 0.0}
    for batch in batches(data.train(seed, recipe.batch), recipe.batch, 0, total):
        late = metrics
        state, metrics = compiled(state, to_mesh(batch, mesh))
        float(late["loss"])  # read one step late, as the loop does
    kept = np.array(model.apply({"params": state.params}, method="vectors"))
    seconds = time.perf_counter() - begin
    known = [i for i in range(data.vocab_size) if i != data.tokenizer.unknown_id]
    return Vectors(data.tokenizer.symbols(known), kept[known], seconds)


def train_gensim(recipe: Recipe, seed: int, text: Path, subsample: float) -> Vectors:
    """Train the same with gensim in two threads."""
    from gensim.models.word2vec import LineSentence, Word2Vec

    model = Word2Vec(
        LineSentence(str(text)),
        vector_size=WIDTH,
        window=WINDOW,
        min_count=MIN_COUNT,
        sample=subsample,
        epochs=recipe.epochs,
        workers=2,
        seed=seed + 1,
        **recipe.gensim,
    )
    words, vectors = model.wv.index_to_key, model.wv.vectors
    return Vectors(list(words), vectors, model.total_train_time)


def _scored(trained: Vectors, judged: Path) -> Measured:
    scores = word_scores(trained.words, trained.vectors, judged)
    return Measured(scores, trained.seconds)


def _row(runs: list[Measured]) -> str:
    """Give the mean of each score and half its range."""
    cells = []
    for name in SCORES.values():
        found = [run.scores[name] for run in runs]
        spread = (max(found) - min(found)) / 2
        cells.append(f"{statistics.mean(found):>7.3f} ±{spread:.3f}")
    return "".join(cells)
