"""The value that defines a run: loaded, written, overridden, compared."""

from lm_jax.experiment.comparing import differences, fields, flatten
from lm_jax.experiment.loading import Named, load
from lm_jax.experiment.names import from_json, save, to_json
from lm_jax.experiment.value import (
    AnyExperiment,
    CountExperiment,
    Experiment,
    InitialVectors,
    Published,
    Sample,
)

__all__ = [
    "AnyExperiment",
    "CountExperiment",
    "Experiment",
    "InitialVectors",
    "Named",
    "Published",
    "Sample",
    "differences",
    "fields",
    "flatten",
    "from_json",
    "load",
    "save",
    "to_json",
]
