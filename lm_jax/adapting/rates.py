"""Lower layers learn more slowly: they hold what is general."""

from typing import Any

from lm_jax.models import BiEncoder, EncoderDecoder

# What a model reads tokens, positions and kinds of sentence with; norms that follow.
_BELOW = "^embedding|^types/|^((source|target)/)?positions"
_OF_STACKS = "|^(source|target)/embedding"
_OF_TOWERS = "|^(query|passage)_tower/(embedding|types/|positions)"


def layerwise_rates(model: Any, factor: float = 0.9) -> tuple[tuple[str, float], ...]:
    """Rates that fall by a factor with each layer below the last.

    What stands above the blocks learns at the whole rate, the last of L blocks at
    ``factor`` times it, the first at factor^L, and the embeddings (tied ones too) at
    factor^(L + 1) (Howard and Ruder 2018, 3.2, take 1 / 2.6; Clark et al. 2020, table
    7, 0.8 and 0.9). Pass them on: ``AdamW(rates=layerwise_rates(model))``. Both stacks
    of an encoder-decoder fall from their own last layer; of their embeddings, L is the
    deeper one's.

    Args:
        model: with as many ``layers``, whose parameters are named by blocks; or what
            stands over such a body, as a classifier.
        factor: above 0, at most 1.
    """
    below = _BELOW
    if isinstance(model, BiEncoder):
        below += _OF_TOWERS
    model = getattr(model, "body", model)
    stacks = {"": model.layers}
    if isinstance(model, EncoderDecoder):
        below += _OF_STACKS
        stacks = {"encoder_": model.encoder_config.layers, "decoder_": model.layers}
    blocks = (
        (f"{stack}block_{i}/", factor ** (layers - i))
        for stack, layers in stacks.items()
        for i in range(layers)
    )
    lowest = factor ** (max(stacks.values()) + 1)
    return ((below, lowest), *blocks, (".*", 1.0))
