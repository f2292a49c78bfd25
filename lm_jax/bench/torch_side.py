"""PyTorch's side of the comparison: a usual training step, eager or compiled."""

import contextlib
import itertools
import math
import signal
import time
from collections.abc import Callable
from typing import Any

import torch

from lm_jax.bench.sizes import BERTSize, LSTMSize, Size
from lm_jax.bench.torch_gpt import GPT
from lm_jax.bench.torch_lstm import LSTM

MODES = ("float32", "bfloat16", "float32 compiled", "bfloat16 compiled")
COMPILE_SECONDS = 300


def version() -> str:
    """What is measured."""
    return f"PyTorch {torch.__version__}"


def matrix_rate(dtype: str, m: int, k: int, n: int) -> float:
    """Operations a second of a product of (m, k) and (k, n), at its best."""
    a = torch.ones((m, k), dtype=getattr(torch, dtype))
    b = torch.ones((k, n), dtype=getattr(torch, dtype))
    out = a @ b
    times: list[float] = []
    while len(times) < 3 or (len(times) < 30 and sum(times) < 1.0):
        begin = time.perf_counter()
        torch.mm(a, b, out=out)
        times.append(time.perf_counter() - begin)
    return 2 * m * k * n / min(times)


def training(size: Size) -> Callable[[str, int], float]:
    """A function that trains for some steps and returns the last loss.

    Its arguments are a mode and a number of steps. The modes share parameters
    and optimizer state, which are float32 in all of them.
    """
    torch.manual_seed(0)
    batches = itertools.cycle(
        {name: torch.from_numpy(array).long() for name, array in batch.items()}
        for batch in size.batches(8)
    )
    model = _model(size)
    optimizer, schedule = _optimizer(model, size)
    wanted = "label" if isinstance(size, BERTSize) else "targets"
    forward: dict[str, Callable] = {"": model, "compiled": torch.compile(model)}
    warm: set[str] = set()

    def train(mode: str, steps: int) -> float:
        dtype, _, how = mode.partition(" ")
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16")
        loss = torch.tensor(math.nan)
        limit = COMPILE_SECONDS if how and mode not in warm else 0
        with _time_limit(limit):
            for _ in range(steps):
                batch = next(batches)
                with autocast:
                    loss = forward[how](batch["inputs"], batch[wanted])
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                schedule.step()
        warm.add(mode)
        return loss.item()

    return train


def _model(size: Size) -> torch.nn.Module:
    """The model of a size; transformers is imported only for its own."""
    if isinstance(size, BERTSize):
        from lm_jax.bench.torch_bert import BERT

        return BERT(size)
    return LSTM(size) if isinstance(size, LSTMSize) else GPT(size)


def _optimizer(model: torch.nn.Module, size: Size) -> tuple[Any, Any]:
    """The rule that lm_jax's side has for this size, and its learning rate."""
    if isinstance(size, LSTMSize):
        plain = torch.optim.SGD(model.parameters(), lr=1e-3, fused=True)
        return plain, torch.optim.lr_scheduler.ConstantLR(plain, 1.0)
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        lr=1e-3,
        betas=(0.9, 0.99),
        weight_decay=0.1,
        fused=True,
    )
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 1e-2, total_iters=100)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1900, 1e-4)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, cosine], [100])
    return optimizer, schedule


@contextlib.contextmanager
def _time_limit(seconds: int):
    """Raise TimeoutError in the block after some seconds; 0 has no limit."""

    def stop(number, frame):
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
