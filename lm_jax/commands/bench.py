"""Measure speed, that nothing is lost, and what the tests are worth."""

import importlib

from lm_jax.errors import UserError, nearest
from lm_jax.platform import called

BENCHES = {
    "train": "training steps, against the same model in PyTorch",
    "parts": "a training step part by part, beside what its products need",
    "speedrun": "seconds to nanoGPT's loss, beside nanoGPT's own",
    "ngram": "n-gram models: fitting and scoring, against KenLM and NLTK",
    "vectors": "word vectors, against gensim",
    "data": "tokenizing, in MB/s",
    "start": "how long commands take to begin, for each family",
    "generate": "writing with a cache, against transformers in PyTorch",
    "serve": "clients of a server at once, beside one by one",
    "seeds": "seeds that one program trains together, beside one after another",
    "mistakes": "the tests: which notice a mistake planted in the code",
    "verdicts": "sweeps: how often they find a difference where there is none",
    "laws": "fitted laws: how often their intervals hold what was planted",
    "kills": "trainings that are killed and go on, bit for bit",
}


def main(args: list[str]) -> int:
    """Run the command."""
    if not args or args[0] in ("-h", "--help"):
        print(f"usage: {called()} bench WHAT ...\n")
        for name, what in BENCHES.items():
            print(f"  {name:10}{what}")
        print(f"\n  {called()} bench WHAT --help   says more.")
        return 0 if args else 2
    if args[0] not in BENCHES:
        raise UserError(f"There is no bench '{args[0]}'.{nearest(args[0], BENCHES)}")
    bench = importlib.import_module(f"lm_jax.commands.bench_{args[0]}")
    return bench.main(args[1:]) or 0
