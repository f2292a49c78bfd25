"""A Hugging Face folder becomes a run."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lm_jax.data import (
    MaskedStream,
    Passages,
    RatedPairs,
    SpanCorruption,
    TokenStream,
)
from lm_jax.errors import UserError
from lm_jax.evaluation import Correlation, Likelihood, Ranking
from lm_jax.exchange.reading import Checkpoint, read_checkpoint
from lm_jax.exchange.sentences import MODULES, bi_encoder, longest, prompts
from lm_jax.experiment import Experiment, save
from lm_jax.files import atomic_write, given_path, near
from lm_jax.folders import check_new, whole_folder
from lm_jax.models import BiEncoder, Encoder, EncoderDecoder, Transformer
from lm_jax.objectives import (
    CosineSimilarity,
    InfoNCE,
    MaskedTokens,
    NextToken,
    Seq2Seq,
)
from lm_jax.optimizers import AdamW
from lm_jax.runs.checkpoints import Checkpoints
from lm_jax.runs.environment import record_environment
from lm_jax.runs.model import keep_model
from lm_jax.schedules import Constant
from lm_jax.text import Collection, Corpus
from lm_jax.text.known import KNOWN
from lm_jax.tokenizers import Kept, Trained
from lm_jax.tokenizers.pretrained import read_pretrained

# Tokens of the windows that it is scored in, unless told otherwise.
_WINDOW = 1024


class Imported(NamedTuple):
    """What became a run: the checkpoint, and its tokenizer."""

    checkpoint: Checkpoint
    tokenizer: Trained


def import_checkpoint(path: Path | str, run: Path | str, corpus: str = "") -> Imported:
    """Write a run of a Hugging Face folder: its parameters, model and tokenizer.

    A folder of sentence-transformers becomes a `BiEncoder`.

    Args:
        path: the folder: config.json, safetensors and tokenizer.json.
        run: a new directory.
        corpus: the text that `evaluate` scores it on unless told otherwise; "" is
            Tiny Shakespeare, or of a model of sentences the collection SciFact;
            "stsb" has pairs with ratings. Nothing is read of it now.

    Raises:
        UserError: something of it can't be read or has no place in our models; it is
            a body alone; a directory is there. Nothing is written then.
    """
    path, run = given_path(path, "The folder"), given_path(run, "--run")
    check_new(run, "--run")
    if (path / "experiment.json").exists():
        raise UserError(f"{near(path)} is a run already: use it as it is.")
    tokenizer = read_pretrained(path)
    checkpoint = read_checkpoint(path)
    if checkpoint.lacks:
        checkpoint = _of_sentences(path, checkpoint)
    model, context = checkpoint.model, checkpoint.context
    if tokenizer.vocab_size > model.vocab_size:
        raise UserError(
            f"{near(path)}: tokenizer.json has {tokenizer.vocab_size:,} tokens, and "
            f"config.json says vocab_size={model.vocab_size:,}: some have no vector."
        )
    found = _sentences if isinstance(model, BiEncoder) else _experiment
    experiment = found(model, min(context, _WINDOW), run, corpus)
    with whole_folder(run) as folder:
        for name, content in save(experiment).items():
            atomic_write(folder / name, content)
        keep_model(folder, tokenizer, model, context, frame=checkpoint.frame)
        record_environment(folder)
        checkpoints = Checkpoints(folder / "checkpoints")
        params = {"params": checkpoint.params}
        checkpoints.save(0, params, {"step": np.int32(0)}, {"best": 0}, 0)
        checkpoints.close()
    return Imported(checkpoint, tokenizer)


def _experiment(model: Any, context: int, run: Path, corpus: str) -> Experiment:
    """What an imported run is an experiment of: its model, on a text to score."""
    kinds: dict[type, tuple[Any, Any]] = {
        Transformer: (TokenStream, NextToken()),
        Encoder: (MaskedStream, MaskedTokens()),
        EncoderDecoder: (SpanCorruption, Seq2Seq()),
    }
    data, objective = kinds[type(model)]
    text = Corpus(corpus or "tinyshakespeare")
    return Experiment(
        data=data(text, Kept(str(run)), context=context),
        model=model,
        objective=objective,
        optimizer=AdamW(),
        schedule=Constant(1e-5),
        batch=8,
        budget="1 epoch",
        evaluations={"likelihood": Likelihood("1 epoch")},
    )


def _sentences(model: BiEncoder, context: int, run: Path, corpus: str) -> Experiment:
    """What a model of sentences is an experiment of: what its vectors are good for.

    Documents are found by queries; or pairs are told how alike they are, where the
    corpus has ratings of pairs.
    """
    known = KNOWN.get(corpus)
    rated = known is not None and known.form == "rated pairs"
    lengths = (*(n for n in (16, 32, 64, 128, 256) if n < context), context)
    data: RatedPairs | Passages
    if rated:
        data = RatedPairs(Corpus(corpus), Kept(str(run)), lengths=lengths)
    else:
        data = Passages(
            Collection(corpus or "scifact"),
            Kept(str(run)),
            query_length=min(64, context),
            lengths=tuple(n for n in lengths if n >= min(64, context)),
        )
    name = "correlation" if rated else "ranking"
    return Experiment(
        data=data,
        model=model,
        objective=CosineSimilarity() if rated else InfoNCE(),
        optimizer=AdamW(),
        schedule=Constant(2e-5),
        batch=32,
        budget="1 epoch",
        evaluations={name: Correlation() if rated else Ranking()},
        watch=name,
    )


def _of_sentences(path: Path, checkpoint: Checkpoint) -> Checkpoint:
    """The model of sentences that a body is, where its folder says how.

    Raises:
        UserError: it doesn't, or the model is none of ours.
    """
    if not (path / MODULES).exists():
        raise UserError(
            f"{near(path)} has a body alone, which predicts no token: "
            f"{checkpoint.lacks[0]} is missing, and all else of a head. Begin a "
            'Classifier, Tagger or BiEncoder with it: around body_of("FOLDER") of '
            "lm_jax.exchange, --initial FromHuggingFace --initial.path FOLDER."
        )
    params = dict(checkpoint.params)
    notes = [*checkpoint.notes, *prompts(path)]
    if params.pop("pooler", None):
        notes.append("the pooler: vectors are of the tokens themselves")
    context = longest(path, checkpoint.context)
    model = bi_encoder(path, checkpoint.model).filled(
        checkpoint.model.vocab_size, checkpoint.context
    )
    return checkpoint._replace(model=model, params=params, notes=notes, context=context)
