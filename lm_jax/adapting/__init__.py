"""From a model that has learnt to another: what of it is trained, and how fast.

`lora` and `quantized` are weights that a model sees as others; `rates` are of layers.
"""

from lm_jax.adapting.lora import LoRA, unaccompanied
from lm_jax.adapting.quantized import (
    Integers,
    as_read,
    dequantized,
    is_quantized,
    placed_as,
    quantize,
)
from lm_jax.adapting.rates import layerwise_rates

Adapter = LoRA

__all__ = [
    "Adapter",
    "Integers",
    "LoRA",
    "as_read",
    "dequantized",
    "is_quantized",
    "layerwise_rates",
    "placed_as",
    "quantize",
    "unaccompanied",
]
