"""What a run's time was spent on, for result.json and for people."""

from typing import Any

from lm_jax.chips import PEAKS
from lm_jax.runs.figures import duration


def spent(
    seconds: dict[str, float], starts: int, flops: float, device: str
) -> dict[str, Any]:
    """Give what result.json says of time.

    Goodput is the share of training: of all the time that processes of this run took,
    that in which steps were made that it kept. MFU (Chowdhery et al. 2022, appendix B)
    is what the model needs of operations, nothing that is computed again counted, by
    what the device could do of bfloat16 products in the same time; evaluations and
    whatever else is no step are left out.

    Args:
        seconds: by `clock.PHASES`.
        starts: of processes, one after the other.
        flops: operations a second on one device; 0 where no rate is known.
        device: the kind that it is, as jax has it.
    """
    total = sum(seconds.values())
    found = {
        "seconds": total,
        "seconds_by_phase": seconds,
        "goodput": seconds.get("step", 0.0) / total if total else 0.0,
        "starts": starts,
    }
    if flops and device in PEAKS:
        found["mfu"] = flops / PEAKS[device]
    return found


def told(result: dict) -> str:
    """Say in a sentence or two what `spent` gave."""
    parts = sorted(result["seconds_by_phase"].items(), key=lambda part: -part[1])
    each = ", ".join(f"{name} {duration(seconds)}" for name, seconds in parts)
    starts = result["starts"]
    over = f" over {starts} starts" if starts > 1 else ""
    mfu = f" MFU (of the device's peak) {result['mfu']:.1%}." if "mfu" in result else ""
    return (
        f"Time {duration(result['seconds'])}{over}: {each}. "
        f"Goodput, what of it went into steps that were kept: {result['goodput']:.1%}."
        f"{mfu}"
    )
