"""How well a model predicts a text, whatever its family and its tokens."""

import math

from lm_jax.tokenizers.chunks import Coded


def likelihood(nats: float, tokens: int | float, text: Coded) -> dict[str, float]:
    """Give nats per token ("loss"), "perplexity", "bits_per_byte" and "tokens".

    Bits per byte compare models with different tokenizers: the length of a code of
    the text, all nats in bits, the spelling of what became <unk> and log2 of the
    vocabulary for each token that isn't predicted, such as a stream's first, over the
    bytes of the text (Gao et al. 2020, 3.1). So a tokenizer gains nothing by what it
    doesn't spell. Where something became <unk>, "spelling_bits_per_byte" is the part
    that spells. There are none where the tokens come without their text.

    Args:
        nats: summed over all tokens but the first.
        tokens: that were predicted.
        text: that the tokens code.
    """
    loss = nats / tokens
    scores = {"loss": loss, "perplexity": perplexity(loss)}
    if text.bytes:
        bits = nats / math.log(2.0) + text.spelling + text.unpredicted(tokens)
        scores["bits_per_byte"] = bits / text.bytes
    if text.spelling:
        scores["spelling_bits_per_byte"] = text.spelling / text.bytes
    return scores | {"tokens": int(tokens)}


def perplexity(loss: float) -> float:
    """Give e to the nats per token; infinite where no float can hold it."""
    return math.exp(loss) if loss < 700.0 else math.inf
