"""Train, compare and apply language models of every family in JAX.

What the commands do, Python does:

    from lm_jax import evaluate, load_model, train
    train("experiments/gpt_shakespeare.py", "runs/mine")
    load_model("runs/mine").generate("ROMEO:", temperature=0.5)
    evaluate("runs/mine", split="test", stride=16)
"""

import importlib
from typing import Any

# Found when they are asked for: importing lm_jax alone starts nothing.
_PUBLIC = {
    "load": "lm_jax.experiment",
    "train": "lm_jax.training.fitting",
    "evaluate": "lm_jax.training.fitting",
    "sweep": "lm_jax.sweeping.sweep",
    "load_model": "lm_jax.runs.model",
}
__all__ = ["evaluate", "load", "load_model", "sweep", "train"]  # noqa: F822


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'lm_jax' has no attribute '{name}'")
    from lm_jax.platform import configure

    configure()
    return getattr(importlib.import_module(_PUBLIC[name]), name)
