"""Lower layers learn more slowly: they hold what is general."""

from typing import Any

from lm_jax.errors import UserError


def layerwise_rates(model: Any, factor: float = 0.9) -> tuple[tuple[str, float], ...]:
    """Rates that fall by a factor with each layer below the last.

    What stands above the blocks learns at the whole rate, the last of L blocks at
    ``factor`` times it, the first at factor^L, and the embeddings (tied ones too) at
    factor^(L + 1) (Howard and Ruder 2018, 3.2, take 1 / 2.6; Clark et al. 2020, table
    7, 0.8 and 0.9). Pass them on: ``AdamW(rates=layerwise_rates(model))``. Both stacks
    of an encoder-decoder fall from their own last layer; of their embeddings, L is the
    deeper one's.

    Args:
        model: that has ``stacks`` of blocks; or what stands over such a body, as a
            classifier.
        factor: above 0, at most 1.

    Raises:
        UserError: the model has no blocks; the factor is another.
    """
    if not 0 < factor <= 1:
        raise UserError(
            f"layerwise_rates: a factor of {factor} lets no lower layer learn more "
            "slowly: give one above 0, and 1 at most."
        )
    if not model.stacks:
        raise UserError(
            f"layerwise_rates: {type(model).__name__} has no blocks that rates could "
            "fall over. A Transformer, Encoder or EncoderDecoder has."
        )
    blocks = (
        (f"{stack}block_{i}/", factor ** (layers - i))
        for stack, layers in model.stacks.items()
        for i in range(layers)
    )
    lowest = factor ** (max(model.stacks.values()) + 1)
    return ((model.below, lowest), *blocks, (".*", 1.0))
