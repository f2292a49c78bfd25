"""The architectures that are read and written."""

from lm_jax.errors import UserError, nearest
from lm_jax.exchange.architecture import Architecture
from lm_jax.exchange.decoders import GPTS
from lm_jax.exchange.encoders import ENCODERS
from lm_jax.exchange.fields import Config
from lm_jax.exchange.llama import LLAMA_KIN
from lm_jax.exchange.marian import MARIAN
from lm_jax.exchange.seq2seq import SEQ2SEQ

ARCHITECTURES: dict[str, Architecture] = {
    each.name: each for each in (*GPTS, *LLAMA_KIN, *ENCODERS, *SEQ2SEQ, MARIAN)
}


def architecture_of(config: Config) -> Architecture:
    """The architecture that a config.json names.

    Raises:
        UserError: it names none, or one that isn't known.
    """
    name = config.take("model_type")
    if name not in ARCHITECTURES:
        raise UserError(
            f"{config.path}: model_type={name!r} is not read."
            f"{nearest(str(name), ARCHITECTURES)}"
        )
    return ARCHITECTURES[name]
