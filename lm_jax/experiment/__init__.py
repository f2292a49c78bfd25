"""The value that defines a run: loaded, written, overridden, compared.

`value` has all of its fields. `loading` reads it from a file, `overrides` changes it
from the command line, `names` writes it as JSON, and `comparing` says where two differ.
"""

from lm_jax.experiment.comparing import (
    Difference,
    differences,
    digest,
)
from lm_jax.experiment.leaves import fields, flatten, leaves
from lm_jax.experiment.loading import Named, load
from lm_jax.experiment.names import from_json, own_source, read, save, to_json
from lm_jax.experiment.value import (
    AnyExperiment,
    Compute,
    CountExperiment,
    Execution,
    Experiment,
    FromHuggingFace,
    FromRun,
    Initial,
    InitialVectors,
    Learnt,
    Published,
    watched_as,
)

__all__ = [
    "AnyExperiment",
    "Compute",
    "CountExperiment",
    "Difference",
    "Execution",
    "Experiment",
    "FromHuggingFace",
    "FromRun",
    "Initial",
    "InitialVectors",
    "Learnt",
    "Named",
    "Published",
    "differences",
    "digest",
    "fields",
    "flatten",
    "from_json",
    "leaves",
    "load",
    "own_source",
    "read",
    "save",
    "to_json",
    "watched_as",
]
