"""What a run writes when it has reached its end: its result and its pictures."""

from pathlib import Path

import jax

from lm_jax.runs.code import read_starts
from lm_jax.runs.confusion import confusion_of, draw_confusion
from lm_jax.runs.picture import Measured, Reference, draw_run
from lm_jax.runs.result import end_run, mark_longer, whole_result
from lm_jax.runs.scored import about, corpus_of, entries
from lm_jax.training.loop import Outcome
from lm_jax.training.resolved import Setup
from lm_jax.training.scoring import seen_before
from lm_jax.training.spent import spent


def has_result(run: Path, step: int) -> bool:
    """Whether a run's result is of its end at a step, and not of a shorter budget."""
    return (run / "result.json").exists() and whole_result(run)["steps"] == step


def finish(setup: Setup, run: Path, outcome: Outcome, ended: bool = False) -> None:
    """Write result.json and the pictures of a run that reached its end.

    Args:
        setup, run: what was trained, and where.
        outcome: of its training.
        ended: whether its result is there; a picture that lacks is drawn then too.
    """
    if ended:
        mark_longer(run, None)
    else:
        end_run(run, _result(setup, run, outcome))
    if not (ended and (run / "curve.png").exists()):
        _draw(setup, run)
    for found in outcome.found.values():
        if not (ended and confusion_of(run, "validation").exists()):
            draw_confusion(run, found.more, "validation")


def _result(setup: Setup, run: Path, outcome: Outcome) -> dict:
    """What came out of a run."""
    steps, watch = int(outcome.state.step), setup.experiment.watch
    best = outcome.progress.best
    rate = outcome.clock.steps_per_second() or 0.0
    evaluation = setup.experiment.evaluations[watch]
    sign = -1 if evaluation.larger_is_better else 1
    policy, skips = seen_before(setup.data), setup.experiment.skip_bad_steps
    scores = entries(
        outcome.found,
        split="validation",
        step=steps,
        corpus=corpus_of(setup.experiment.data),
        text=setup.data.text,
        policy=policy,
    )
    return about(setup.experiment, setup.model, setup.data.text, policy) | {
        "steps": steps,
        "tokens": steps * setup.units.tokens,
        "flops": steps * setup.units.flops,
        "epochs": steps / setup.units.steps_per_epoch,
        "parameters": setup.parameters,
        "trained_parameters": setup.trained,
        "scores": scores,
        "best": best and {"step": best[0], evaluation.watched: sign * best[1]},
        **spent(
            outcome.progress.seconds,
            len(read_starts(run)),
            rate * setup.units.flops / setup.mesh.size,
            setup.mesh.devices.flat[0].device_kind,
        ),
        "tokens_per_second": rate * setup.units.tokens,
        "data_wait": outcome.clock.data_wait(),
        **({"skipped_steps": outcome.progress.skipped} if skips else {}),
        "devices": setup.mesh.size,
        "platform": jax.devices()[0].platform,
    }


def _draw(setup: Setup, run: Path) -> None:
    """Draw curve.png, with what was published of the validation split."""
    evaluation = setup.experiment.evaluations[setup.experiment.watch]
    published = setup.experiment.published
    reference = None
    if published and published.split == "validation":
        reference = Reference(published.source, published.score, published.value)
    unit = setup.experiment.objective.unit
    measured = Measured(unit, evaluation.watched, evaluation.larger_is_better)
    draw_run(run, run / "curve.png", reference, measured)
