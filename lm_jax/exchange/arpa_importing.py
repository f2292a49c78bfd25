"""An ARPA file, n-grams of another program, becomes a run."""

from pathlib import Path

from lm_jax.counting import Given, NGram
from lm_jax.counting.scratch import Progress
from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.exchange.arpa_reading import Arpa, read_arpa
from lm_jax.experiment import CountExperiment, save
from lm_jax.files import atomic_write, given_path
from lm_jax.folders import check_new, whole_folder
from lm_jax.runs.environment import record_environment
from lm_jax.runs.model import NGRAM, keep_tokenizer
from lm_jax.text import Corpus
from lm_jax.tokenizers import Kept


def import_arpa(
    path: Path | str,
    run: Path | str,
    corpus: str = "tinyshakespeare",
    progress: Progress | None = None,
) -> Arpa:
    """Write a run of an ARPA file: its words and its n-grams.

    Args:
        path: the file.
        run: a new directory.
        corpus: the text that `evaluate` scores it on unless told otherwise. Nothing is
            read of it now.
        progress: told (description, n-grams read, n-grams in all).

    Raises:
        UserError: the file is no ARPA file; a directory is there. Nothing is written
            then.
    """
    path, run = given_path(path, "The file"), given_path(run, "--run")
    check_new(run, "--run")
    found = read_arpa(path, progress)
    experiment = CountExperiment(
        data=TokenStream(Corpus(corpus), Kept(str(run))),
        model=NGram(found.fitted.order, Given()),
        evaluations={"likelihood": Likelihood()},
    )
    with whole_folder(run) as folder:
        for name, content in save(experiment).items():
            atomic_write(folder / name, content)
        keep_tokenizer(folder, found.tokenizer)
        found.fitted.save(folder / NGRAM)
        record_environment(folder)
    return found
