"""result.json: what came out of a run.

Three read it, each more strictly: `read_result` as it lies, for who adds to it or has
just seen the run end; `whole_result` where it has what all have, even if the run is
being made longer since; `ended_result` of a run that has ended, for who compares.
"""

import json
from pathlib import Path
from typing import Any, Literal

from lm_jax.errors import UserError
from lm_jax.files import atomic_write, read_whole
from lm_jax.runs.code import codes_of
from lm_jax.runs.directory import NOT_TRAINED, held, is_given
from lm_jax.runs.numbers import decoded, encoded

# When the parameters were as they were scored.
At = Literal["end", "best"]
_LONGER = "goes_on_to"
# What all have, whichever kind of fit wrote them.
_SCORED = {"corpus", "watch", "policy", "steps", "scores"}
_NEEDED = _SCORED | {"tokens", "parameters", "seconds"}


def add_scores(run: Path, made: list[dict]) -> None:
    """Append entries to the result of a run; the same again are not said twice.

    Others may append at the same time: nothing of theirs is lost.

    Raises:
        UserError: as `read_result` and `write_result`.
    """
    with held(run / "result.json"):
        result = read_result(run)
        known = [_facts(entry) for entry in result["scores"]]
        if new := [entry for entry in made if _facts(entry) not in known]:
            write_result(run, result | {"scores": result["scores"] + new})


def end_run(run: Path, result: dict) -> None:
    """Write the result of a run that ended, after the scores that it had before.

    The code that it was trained with is added: that of each start, each once.

    Raises:
        UserError: where the file cannot be written, or the one there not be read.
    """
    codes: list[dict] = []
    for code in codes_of(run):
        if code not in codes:
            codes.append(code)
    with held(run / "result.json"):
        there = (run / "result.json").exists()
        before = read_result(run)["scores"] if there else []
        scores = before + result["scores"]
        write_result(run, result | {"scores": scores, "trained_with": codes})


def mark_longer(run: Path, budget: str | None) -> None:
    """Write down that a run that has ended is made longer; None: it has ended again.

    What is told of its shorter end is no result of the budget that it has now. A result
    that `end_run` writes has no such mark.

    Raises:
        UserError: as `read_result` and `write_result`.
    """
    with held(run / "result.json"):
        there = (run / "result.json").exists()
        result = read_result(run) if there else {}
        if there and result.get(_LONGER) != budget:
            marked = {_LONGER: budget} if budget else {}
            rest = {name: value for name, value in result.items() if name != _LONGER}
            write_result(run, rest | marked)


def _facts(entry: dict) -> dict:
    """What tells two entries apart: of the code, only its text."""
    return encoded(entry | {"code": (entry.get("code") or {}).get("sources")})


def find_scores(result: dict, split: str, at: At) -> dict:
    """What the watched evaluation found of a split, as training would have.

    What was scored again later, by other code or elsewhere, changes nothing of it.

    Args:
        result: of a run.
        split: of its own text.
        at: the end of training, or the best checkpoint.

    Returns:
        Scores by name; none where it was not scored so.
    """
    best = result.get("best") or {}
    step = result["steps"] if at == "end" else best.get("step")
    wanted = {
        "evaluation": result["watch"],
        "split": split,
        "step": step,
        "policy": result["policy"],
    }
    found = [each for each in own_entries(result) if wanted.items() <= each.items()]
    trained = {code.get("sources") for code in result.get("trained_with", ())}
    own = [e for e in found if (e.get("code") or {}).get("sources") in trained]
    first = own[:1] or found[-1:]
    return first[0]["scores"] if first else {}


def own_entries(result: dict) -> list[dict]:
    """The entries that are of a run's own text; older ones have no digest of it."""
    corpus, text = result["corpus"], result.get("text")
    return [
        entry
        for entry in result["scores"]
        if entry["corpus"] == corpus and entry.get("text", text) == text
    ]


def write_result(run: Path, result: dict) -> None:
    """Write `<run>/result.json`: sorted keys, floats that read back exactly.

    It is strict JSON: infinities are the texts "inf" and "-inf", no number is "nan".

    Raises:
        UserError: where the file cannot be written.
    """
    text = json.dumps(
        encoded(result), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    atomic_write(run / "result.json", text + "\n")


def read_result(run: Path) -> dict:
    """What `write_result` wrote; an older version may have written less than all have.

    Raises:
        UserError: if the run has no result yet, or one that cannot be read.
    """
    path = run / "result.json"
    if not path.exists():
        if is_given(run):
            raise UserError(f"{run} {NOT_TRAINED}.")
        raise UserError(f"{run} has no result.json: its training has not ended yet.")
    try:
        result = _with_numbers(json.loads(read_whole(path)))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path} is damaged: move it away and train again to write a new one; "
            "a run that ended only writes its result."
        ) from None
    if isinstance(result.get("validation"), dict) and "scores" not in result:
        raise UserError(
            f"{path} is of an earlier format, without a list of scores: train the run "
            "again, in another directory."
        )
    return result


def whole_result(run: Path) -> dict:
    """What `write_result` wrote, where nothing lacks that every result has.

    Raises:
        UserError: as `read_result`; something lacks.
    """
    result = read_result(run)
    if lacking := sorted(_NEEDED - result.keys()):
        raise UserError(
            f"{run / 'result.json'} lacks {', '.join(lacking)}: move it away and train "
            "again to write a new one; a run that ended only writes its result."
        )
    return result


def has_ended(run: Path) -> bool:
    """Whether a run has a result, and is not being made longer since.

    Raises:
        UserError: as `whole_result`, of a result that is there.
    """
    return (run / "result.json").exists() and _LONGER not in whole_result(run)


def ended_result(run: Path) -> dict:
    """The result of a run that has ended: with all that its scores are found by.

    Raises:
        UserError: as `whole_result`; the run is being made longer since.
    """
    result = whole_result(run)
    if longer := result.get(_LONGER):
        raise UserError(
            f"{run} has not ended: its budget is '{longer}' now, and its result.json "
            f"is of its first {result['steps']} steps."
        )
    return result


def _with_numbers(result: Any) -> dict:
    """A result whose scores are numbers again.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is no result.
    """

    def numbers(scores: Any) -> dict:
        return {name: decoded(value) for name, value in scores.items()}

    changed: dict[str, Any] = {}
    if "scores" in result:
        changed["scores"] = [
            entry | {"scores": numbers(entry["scores"])} for entry in result["scores"]
        ]
    if result.get("best"):
        changed["best"] = numbers(result["best"])
    return dict(result.items()) | changed
