"""Pure Flax modules: they know arrays and nothing else."""

from lm_jax.models.cells import GRU, LSTM, Elman
from lm_jax.models.conv_encoder import ConvEncoder
from lm_jax.models.convolutional import GatedConv
from lm_jax.models.encoder import Encoder
from lm_jax.models.encoder_decoder import EncoderDecoder
from lm_jax.models.feedforward import MLP, FeedForward, Gated
from lm_jax.models.gated_linear import GatedLinear
from lm_jax.models.initial import (
    GPT2,
    FanIn,
    MuP,
    Normal,
    ZeroProjections,
    mup_rates,
)
from lm_jax.models.moe import MoE
from lm_jax.models.patterns import Alternating, BlockLocal, Full, SlidingWindow
from lm_jax.models.positions import (
    ALiBi,
    Learned,
    NoPositions,
    Positions,
    Relative,
    Rotary,
    Sinusoidal,
)
from lm_jax.models.recurrent import Dropouts, Recurrent
from lm_jax.models.softmax import Softmax
from lm_jax.models.transformer import Transformer
from lm_jax.models.word_vectors import GlobalVectors, WordVectors

__all__ = [
    "GRU",
    "LSTM",
    "ALiBi",
    "Alternating",
    "BlockLocal",
    "ConvEncoder",
    "Dropouts",
    "Elman",
    "Encoder",
    "EncoderDecoder",
    "FanIn",
    "FeedForward",
    "Full",
    "GPT2",
    "Gated",
    "GatedConv",
    "GatedLinear",
    "GlobalVectors",
    "Learned",
    "MLP",
    "MoE",
    "MuP",
    "NoPositions",
    "Normal",
    "Positions",
    "Recurrent",
    "Relative",
    "Rotary",
    "Sinusoidal",
    "SlidingWindow",
    "Softmax",
    "Transformer",
    "WordVectors",
    "ZeroProjections",
    "mup_rates",
]
