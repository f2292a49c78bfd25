"""How well a model predicts a text, whatever its family and its tokens."""

import math


def likelihood(nats: float, tokens: int | float, text_bytes: int) -> dict[str, float]:
    """Give nats per token ("loss"), "perplexity", "bits_per_byte" and "tokens".

    There are no bits per byte where the tokens come without their text.

    Bits per byte compare models with different tokenizers: all nats, in bits,
    over the bytes of the text (Gao et al. 2020, 3.1). Bytes that became <unk> are
    not counted: a tokenizer gains nothing by what it doesn't spell.

    Args:
        nats: summed over all tokens but the first.
        tokens: that were predicted.
        text_bytes: UTF-8 bytes of the text that its tokens give back; 0 is not
            known.
    """
    loss = nats / tokens
    bits = {"bits_per_byte": nats / math.log(2.0) / text_bytes} if text_bytes else {}
    scores = {"loss": loss, "perplexity": perplexity(loss), **bits}
    return scores | {"tokens": int(tokens)}


def perplexity(loss: float) -> float:
    """Give e to the nats per token; infinite where no float can hold it."""
    return math.exp(loss) if loss < 700.0 else math.inf
