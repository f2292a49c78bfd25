"""From a model that has learnt to another: what of it is trained, and how fast."""

from lm_jax.adapting.lora import LoRA
from lm_jax.adapting.rates import layerwise_rates

Adapter = LoRA

__all__ = ["Adapter", "LoRA", "layerwise_rates"]
