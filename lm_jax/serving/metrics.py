"""What the server has done, in Prometheus' text format."""

from collections.abc import Mapping

from lm_jax.platform import held_memory
from lm_jax.serving.embedding import Embedder
from lm_jax.serving.engine import Engine


def metrics(
    engine: Engine | None,
    embedder: Embedder,
    requests: Mapping[tuple[str, int], int],
) -> str:
    """Give all numbers as text.

    Args:
        engine: that answers; None where the model continues no text.
        embedder: that makes vectors.
        requests: their number by path and status.
    """
    lines = ["# TYPE lm_jax_requests_total counter"]
    for (path, status), number in sorted(requests.items()):
        labels = f'path="{path}",status="{status}"'
        lines.append(f"lm_jax_requests_total{{{labels}}} {number}")
    rows: list[tuple[str, str, object]] = [
        ("embedded_texts_total", "counter", embedder.texts),
        ("embedded_tokens_total", "counter", embedder.tokens),
        ("memory_bytes", "gauge", held_memory()),
        *(_of_answers(engine) if engine else ()),
    ]
    for name, kind, value in rows:
        lines += [f"# TYPE lm_jax_{name} {kind}", f"lm_jax_{name} {value}"]
    return "\n".join(lines) + "\n"


def _of_answers(engine: Engine) -> list[tuple[str, str, object]]:
    counts = engine.counts
    return [
        ("answers_total", "counter", counts.answered),
        ("left_total", "counter", counts.left),
        ("refused_total", "counter", counts.refused),
        ("prompt_tokens_total", "counter", counts.prompt_tokens),
        ("written_tokens_total", "counter", counts.written_tokens),
        ("steps_total", "counter", counts.steps),
        ("first_token_seconds_total", "counter", f"{counts.waited_seconds:.6f}"),
        ("running", "gauge", engine.running),
        ("waiting", "gauge", engine.waiting),
        ("slots", "gauge", engine.model.slots),
    ]
