"""Pure Flax modules: they know arrays and nothing else.

`model` says what a model offers. `transformer` is the shortest; `stack` is what it
shares with `encoder` and `encoder_decoder`, `block` and `config` are what is stacked,
and the choices in a block have a file each: `attention`, `softmax`, `gated_linear`,
`positions`, `patterns`, `norms`, `feedforward`, `moe`, `initial`. Other families are
`recurrent`, `convolutional` and `word_vectors`; `classifier`, `tagger` and `bi_encoder`
stand `over_body`, over any of them.
"""

from lm_jax.models.bag_of_vectors import *
from lm_jax.models.bi_encoder import *
from lm_jax.models.bidirectional import *
from lm_jax.models.cells import *
from lm_jax.models.classifier import *
from lm_jax.models.config import *
from lm_jax.models.conv_encoder import *
from lm_jax.models.convolutional import *
from lm_jax.models.encoder import *
from lm_jax.models.encoder_decoder import *
from lm_jax.models.feedforward import *
from lm_jax.models.frequencies import *
from lm_jax.models.gated_linear import *
from lm_jax.models.initial import *
from lm_jax.models.model import *
from lm_jax.models.moe import *
from lm_jax.models.patterns import *
from lm_jax.models.pooling import *
from lm_jax.models.positions import *
from lm_jax.models.recurrent import *
from lm_jax.models.softmax import *
from lm_jax.models.story_reader import *
from lm_jax.models.tagger import *
from lm_jax.models.transformer import *
from lm_jax.models.word_vectors import *
