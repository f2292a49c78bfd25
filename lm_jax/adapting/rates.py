"""Lower layers learn more slowly: they hold what is general."""

from typing import Any

from lm_jax.models import EncoderDecoder

# What a model, or a tower or stack of it, reads tokens, positions and kinds of
# sentence with.
_BELOW = "^((query_tower|passage_tower|source|target)/)?(embedding|types/|positions)"


def layerwise_rates(model: Any, factor: float = 0.9) -> tuple[tuple[str, float], ...]:
    """Rates that fall by a factor with each layer below the last.

    What stands above the blocks learns at the whole rate, the last of L blocks at
    ``factor`` times it, the first at factor^L, and the embeddings (tied ones too) at
    factor^(L + 1) (Howard and Ruder 2018, 3.2, take 1 / 2.6; Clark et al. 2020, table
    7, 0.8 and 0.9). Pass them on: ``AdamW(rates=layerwise_rates(model))``. Both stacks
    of an encoder-decoder fall from their own last layer; of their embeddings, L is the
    deeper one's.

    Args:
        model: with as many ``layers``, whose parameters are named by blocks.
        factor: above 0, at most 1.
    """
    stacks = {"": model.layers}
    if isinstance(model, EncoderDecoder):
        stacks = {"encoder_": model.encoder_config.layers, "decoder_": model.layers}
    blocks = (
        (f"{stack}block_{i}/", factor ** (layers - i))
        for stack, layers in stacks.items()
        for i in range(layers)
    )
    below = factor ** (max(stacks.values()) + 1)
    return ((_BELOW, below), *blocks, (".*", 1.0))
