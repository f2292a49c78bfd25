"""PyTorch's side of `bench generate`: transformers' GPT-2 and its `generate`."""

import time
from collections.abc import Sequence

import torch
import transformers
from transformers import GPT2LMHeadModel

__all__ = ["MODES", "Writer", "version"]

MODES = ("float32", "bfloat16")


def version() -> str:
    """What is measured."""
    return f"PyTorch {torch.__version__}, transformers {transformers.__version__}"


class Writer:
    """The model of a folder, in each mode.

    Args:
        folder: with config.json and model.safetensors.
    """

    def __init__(self, folder: str):
        self._models = {
            mode: GPT2LMHeadModel.from_pretrained(
                folder, dtype=getattr(torch, mode)
            ).eval()
            for mode in MODES
        }

    def write(
        self, mode: str, prompts: Sequence[Sequence[int]], tokens: int, first: bool
    ) -> dict:
        """Go on greedily, with the cache that `generate` takes by itself.

        Args:
            mode: of the weights.
            prompts: token ids, of one length.
            tokens: to write, for each prompt.
            first: whether to stop after the first one.

        Returns:
            "seconds" that it took, and the "tokens".
        """
        new = 1 if first else tokens
        ids = torch.tensor(prompts)
        begin = time.perf_counter()
        with torch.inference_mode():
            found = self._models[mode].generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                min_new_tokens=new,
                do_sample=False,
                pad_token_id=0,
                eos_token_id=None,
            )
        written = found[:, ids.shape[1] :].tolist()
        return {"seconds": time.perf_counter() - begin, "tokens": written}
