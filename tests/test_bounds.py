"""Every number of every value is of use, or is refused in one message."""

import dataclasses
import math
from dataclasses import dataclass, is_dataclass, replace

import flax.linen as nn
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.bounds import SEEDS, check, check_number, problems, problems_within, within
from lm_jax.data import TokenStream
from lm_jax.errors import UserError
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import CountExperiment, Experiment
from lm_jax.experiment.names import public_kinds
from lm_jax.experiment.value import Published
from lm_jax.generation import Beam, Sampling
from lm_jax.models import Transformer
from lm_jax.models.config import BlockConfig
from lm_jax.models.stack import Stack
from lm_jax.objectives import NextToken
from lm_jax.optimizers import SGD, Adadelta, AdamW, Lion, Muon
from lm_jax.schedules import Constant, ReduceOnPlateau, WarmupCosine
from lm_jax.sharding import MESH
from lm_jax.training.checks import check_values

GIVEN = {
    "peak": 0.1,
    "value": 1.0,
    "source": "nowhere",
    "data": TokenStream(),
    "model": Transformer(layers=2, heads=2, width=16),
    "objective": NextToken(),
    "optimizer": AdamW(),
    "schedule": Constant(0.1),
    "batch": 8,
    "budget": "9 steps",
    "evaluations": {"likelihood": Likelihood("4 steps")},
    "parts": (TokenStream(),),
    "weights": (1.0,),
}
ABSURD = (math.nan, math.inf, -math.inf, -1.0, -1e-3, 0.0, 1e-50, 1e39, 1e9, 1 - 1e-12)
WHOLE = (-(2**63), -5, -1, 0, 1, 2**31, 2**63)
# What may be negative: figures, factors on scores, and "all that are left".
SIGNED = {
    *("Published.value", "attention_scale", "logit_scale"),
    *(f"Sharding.{axis}" for axis in MESH),
    *("Sampling.frequency_penalty", "Sampling.presence_penalty"),
    "Beam.length_penalty",
}


def needed(kind):
    missing = dataclasses.MISSING
    return {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is missing and field.default_factory is missing
    } - {"parent", "name"}


def made(kind):
    words = {"vocab_size": 9} if issubclass(kind, nn.Module) else {}
    return kind(**{name: GIVEN[name] for name in needed(kind)}, **words)


def changed(value, /, **changes):
    if isinstance(value, nn.Module):
        return value.clone(**changes)
    return replace(value, **changes)


def refusal(value, /, **changes):
    """What the numbers of a value are refused for; None where they aren't."""
    try:
        now = changed(value, **changes)
        found = list(problems_within(now))
        if not found and hasattr(now, "problems"):
            config = BlockConfig(layers=2, heads=2, width=16)
            try:
                found += now.problems()
            except TypeError:
                found += now.problems(config)
        if isinstance(now, Sampling | Beam):
            now.check(9)
        if isinstance(now, Experiment):
            check_values(now)
    except UserError as error:
        return str(error)
    return found[0] if found else None


def numeric():
    for name, kind in sorted(public_kinds().items()):
        if kind in (Stack, CountExperiment) or not needed(kind) <= GIVEN.keys():
            continue
        for field in dataclasses.fields(kind):
            if field.name in ("parent", "name"):
                continue
            if field.type in (float, float | None):
                yield pytest.param(kind, field.name, ABSURD, id=f"{name}.{field.name}")
            elif field.type in (int, int | None, int | str):
                yield pytest.param(kind, field.name, WHOLE, id=f"{name}.{field.name}")


@pytest.mark.parametrize(("kind", "field", "numbers"), list(numeric()))
def test_absurd_numbers_are_refused_or_have_a_meaning(kind, field, numbers):
    value = made(kind)
    assert refusal(value) is None
    for number in numbers:
        said = refusal(value, **{field: number})
        if said is not None:
            assert field in said or "layers" in said, said
        signed = {field, f"{kind.__name__}.{field}"} & SIGNED
        if not math.isfinite(number) or (number < 0 and not signed):
            assert said is not None, (field, number)


@pytest.mark.parametrize(
    ("value", "field", "number"),
    [
        *((kind(), "clip", 0.0) for kind in (AdamW, Lion, SGD, Muon)),
        *((kind(), moment, 1.0) for kind in (AdamW, Lion) for moment in ("b1", "b2")),
        (SGD(), "momentum", 1.0),
        (AdamW(), "epsilon", 0.0),
        (Adadelta(), "rho", 1.0),
        (Constant(0.1), "peak", 0.0),
        (ReduceOnPlateau(0.1), "factor", 1.0),
        (WarmupCosine(0.1, "9 steps"), "final", -1e-9),
    ],
    ids=lambda given: type(given).__name__ if is_dataclass(given) else str(given),
)
def test_a_number_at_the_edge_that_trains_nothing_is_refused(value, field, number):
    said = refusal(value, **{field: number})
    assert said and f"{field}={number}" in said


@dataclass(frozen=True)
class Own:
    """A value with each form of interval."""

    share: float = within("[0, 1)", 0.5)
    above: float | None = within("(0, inf)", None)
    whole: int = within("[1, 5]", 1)
    many: tuple[float, ...] = within("(-inf, 2)", ())

    def __post_init__(self):
        check(self, "own")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"share": 1.0}, "own.share=1.0: give a number, 0 or more, below 1."),
        ({"share": 1 - 1e-9}, "own.share=0.999999999: give"),
        ({"share": math.nan}, "own.share=nan: give a number, 0 or more, below 1."),
        ({"above": 0.0}, "own.above=0.0: give a number, more than 0, or None."),
        ({"above": 1e-50}, "own.above=1e-50"),
        ({"above": 1e39}, "own.above=1e+39"),
        ({"whole": 6}, "own.whole=6: give a whole number, 1 to 5."),
        ({"whole": True}, "own.whole=True: give a whole"),
        ({"many": (1.0, math.inf)}, r"own.many=\(1.0, inf\): give a number, below 2."),
    ],
)
def test_a_number_outside_its_interval_is_named_with_what_fits(changes, said):
    with pytest.raises(UserError, match=said.replace("+", r"\+")):
        Own(**changes)


@given(st.floats(0, 0.99), st.one_of(st.none(), st.floats(1e-30, 1e30)))
def test_a_number_inside_its_interval_is_taken(share, above):
    Own(share, above)


def test_a_field_that_a_kind_of_ones_own_gives_another_default_is_still_looked_at():
    @dataclass(frozen=True)
    class Mine(AdamW):
        b1: float = 0.5
        limit: float = math.inf

    assert not list(problems(Mine()))
    with pytest.raises(UserError, match="optimizer.b1=2.0"):
        Mine(b1=2.0)


def test_numbers_are_found_wherever_they_stand():
    model = Transformer(positions=replace(Transformer().positions, length=-1))
    (said,) = problems_within(model, "model")
    assert said.startswith("model.positions.length=-1")


@pytest.mark.parametrize("seed", [-1, 2**32, 2**64])
def test_a_seed_of_more_than_32_bits_is_refused(seed):
    experiment = made(Experiment)
    assert replace(experiment, seed=2**32 - 1).seed == 2**32 - 1
    with pytest.raises(UserError, match=f"seed={seed}: give a whole number, 0 to 4294"):
        replace(experiment, seed=seed)
    with pytest.raises(UserError, match=f"seed={seed}"):
        check_number("seed", seed, SEEDS)


REFUSED = {
    "no step between evaluations": (
        {"evaluations": {"likelihood": Likelihood("0 steps")}},
        "evaluations.likelihood.every: '0 steps' is nothing",
    ),
    "nothing to train": ({"budget": "0 epochs"}, "budget: '0 epochs' is nothing"),
    "none of another evaluation": (
        {
            "evaluations": {
                "likelihood": Likelihood("1 epoch"),
                "more": Likelihood("0.0 epochs"),
            }
        },
        "evaluations.more.every: '0.0 epochs' is nothing",
    ),
    "a batch without end": ({"batch": "1e999 tokens"}, "batch='1e999 tokens'"),
    "a negative patience": ({"patience": -1}, "patience=-1: give a whole number"),
    "a figure that is none": (
        {"published": Published(math.nan, "nowhere")},
        "published.value=nan",
    ),
}


@pytest.mark.parametrize(("changes", "said"), REFUSED.values(), ids=REFUSED)
def test_what_only_the_whole_shows_is_refused(changes, said):
    with pytest.raises(UserError, match=said):
        check_values(replace(made(Experiment), **changes))
