"""Vectors of texts, by the run of a bi-encoder."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32

from lm_jax.data import Passages
from lm_jax.data.examples import read_whole
from lm_jax.errors import UserError
from lm_jax.mesh import make_mesh
from lm_jax.retrieval.reading import Side, read_texts
from lm_jax.runs.model import CountedModel, NeuralModel
from lm_jax.sharding import Sharding


def embed(
    model: NeuralModel | CountedModel,
    texts: Sequence[str],
    side: Side = "passage",
    mesh: Mesh | None = None,
) -> Float32[np.ndarray, "texts width"]:
    """Give the vector of each text, as `index` and `search` make them.

    A text is read with what stands around it in training, and cut where training cut.

    Args:
        model: of a run of a `BiEncoder`: ``load_model(RUN)``.
        texts: at least one.
        side: which tower reads them.
        mesh: devices that share the work; all that are here if None.

    Raises:
        UserError: there is no text; the model gives no vectors of texts.
        NotFinite: a vector is infinite or no number.
    """
    if not texts:
        raise UserError("There is no text to give a vector of.")
    if not (isinstance(model, NeuralModel) and model.embeds):
        raise UserError(
            "This run gives no vectors of texts: a BiEncoder's does, or an imported "
            "one's of sentence-transformers. `features` gives a vector of each token."
        )
    length = longest(model, side)
    tokenizer = model.tokenizer
    ids = [read_whole(tokenizer, tokenizer.encode(text)) for text in texts]
    mesh = make_mesh(Sharding(), jax.devices()) if mesh is None else mesh
    return read_texts(model.model, model.params, ids, side, length, mesh)


def longest(model: NeuralModel, side: Side) -> int:
    """Give the tokens of a text that are read, at most, as in training."""
    data = model.experiment.data
    if isinstance(data, Passages):
        return data.query_length if side == "query" else data.lengths[-1]
    return model.context
