"""Lower layers learn more slowly: they hold what is general."""

from typing import Any

# What a model reads tokens, positions and kinds of sentence with.
_BELOW = "^embedding|^types/|^((source|target)/)?positions"


def layerwise_rates(model: Any, factor: float = 0.9) -> tuple[tuple[str, float], ...]:
    """Rates that fall by a factor with each layer below the last.

    What stands above the blocks learns at the whole rate, the last of L blocks at
    ``factor`` times it, the first at factor^L, and the embeddings (tied ones too) at
    factor^(L + 1) (Howard and Ruder 2018, 3.2, take 1 / 2.6; Clark et al. 2020, table
    7, 0.8 and 0.9). Pass them on: ``AdamW(rates=layerwise_rates(model))``. Both stacks
    of an encoder-decoder fall from their own last layer.

    Args:
        model: with as many ``layers``, whose parameters are named by blocks.
        factor: above 0, at most 1.
    """
    layers = model.layers
    blocks = ((f"block_{i}/", factor ** (layers - i)) for i in range(layers))
    return ((_BELOW, factor ** (layers + 1)), *blocks, (".*", 1.0))
