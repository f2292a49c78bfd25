"""The second half of a couplet of Tang poetry: learnt, then preferred to a stranger's.

Run:     ./launch.sh train experiments/couplets.py
         ./launch.sh train experiments/couplets.py:preferred
Expect:  not run yet
Source:  the data are ours; the second run's loss is Rafailov et al. 2023, equation 7
Data:    $LM_JAX_DATA/poetry (quantangshi_trad.tsv.gz)
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from lm_jax.data import AnswerPairs, Answers, Prepared
from lm_jax.evaluation import Accuracy, Likelihood, Sample
from lm_jax.experiment import Experiment, FromRun
from lm_jax.files import atomic_write
from lm_jax.models import Rotary, Transformer
from lm_jax.objectives import NextToken, Preference
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus, find
from lm_jax.tokenizers import Characters, Kept

LEARNT = "runs/couplets/base/seed0"


@dataclass(frozen=True)
class Couplets:
    """Halves of couplets of five or seven characters, from all poems of a corpus.

    What is rejected is the second half of a later couplet of the same measure.
    """

    corpus: Corpus = Corpus("quantangshi")
    preferred: bool = False
    later: int = 1000

    def prepare(self, cache: Path, progress=None) -> Prepared:
        """Write a table of them, and read it."""
        text = find(self.corpus, cache)
        path = cache / f"couplets-{text.digest[:12]}-{self.later}.jsonl"
        if not path.exists():
            atomic_write(path, "".join(self._rows(text)))
        table = Corpus(str(path), column="first", validation=0.02)
        if self.preferred:
            pairs = AnswerPairs(table, Kept(LEARNT), between="", lengths=(16,))
            return pairs.prepare(cache, progress)
        answers = Answers(table, Characters(unknown=True), "chosen", "", (16,))
        return answers.prepare(cache, progress)

    def _rows(self, text):
        poems = (piece.text for piece in text.pieces())
        found = [
            couplet
            for poem in poems
            for couplet in re.findall(r"\b(\w{5}|\w{7})，(\w{5}|\w{7})。", poem)
        ]
        for measure in (5, 7):
            kept = dict(c for c in found if set(map(len, c)) == {measure})
            seconds = list(kept.values())
            for number, (first, second) in enumerate(kept.items()):
                other = seconds[(number + self.later) % len(seconds)]
                row = {"first": f"{first}，", "chosen": second, "rejected": other}
                yield json.dumps(row, ensure_ascii=False) + "\n"


experiment = Experiment(
    data=Couplets(),
    model=Transformer(layers=2, heads=4, width=128, positions=Rotary()),
    objective=NextToken(),
    optimizer=AdamW(b2=0.99, weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=2e-3, warmup="100 steps", final=1e-4),
    batch=64,
    budget="1500 steps",
    evaluations={
        "likelihood": Likelihood("500 steps"),
        "sample": Sample(prompt="白日依山盡，", length=6),
    },
)
variants = {
    "preferred": replace(
        experiment,
        data=Couplets(preferred=True),
        objective=Preference(LEARNT, beta=0.1),
        initial=FromRun(LEARNT),
        schedule=WarmupCosine(peak=2e-4, warmup="50 steps", final=1e-5),
        budget="500 steps",
        evaluations={
            "likelihood": Likelihood("100 steps"),
            "accuracy": Accuracy(),
            "sample": Sample(prompt="白日依山盡，", length=6),
        },
    ),
}
