"""A run that trains adapters beside another run's parameters."""

import json
import os
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.adapting import LoRA, dequantized, quantize
from lm_jax.experiment import load
from lm_jax.experiment.overrides import override
from lm_jax.generation import Sampling
from lm_jax.inspection.reading import read, score
from lm_jax.runs.base import read_left
from lm_jax.runs.checkpoints import Checkpoints
from lm_jax.runs.model import load_model
from lm_jax.serving.engine import Engine, Job
from lm_jax.serving.programs import Programs
from lm_jax.training.setup import set_up
from tests.properties import slow_but
from tests.tiny import write_tiny

LORA = ("--adapter", "LoRA", "--adapter.rank", "2", "--average", "None")


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """A run "base", and "lora" begun from it."""
    folder, here = tmp_path_factory.mktemp("runs"), Path.cwd()
    write_tiny(folder)
    os.chdir(folder)
    assert train("--run", "base", "--budget", "4 steps") == 0
    assert train("--from", "base", *LORA, "--run", "lora") == 0
    yield folder
    os.chdir(here)


def train(*args):
    return main(["train", "tiny.py", *args])


def logits(loaded):
    ids = jnp.asarray(loaded.tokenizer.encode("the cat sees"))[None]
    return np.asarray(loaded.model.apply({"params": loaded.params}, ids)[0])


def test_a_run_of_adapters_is_read_merged():
    base, lora = load_model("base"), load_model("lora")
    left = read_left(Path("lora"), lora.experiment.initial)
    saved = Checkpoints(Path("lora/checkpoints"), left=left).restore_params(lora.step)
    attention = saved["block_0"]["attention"]
    for name in ("query", "key", "value", "output"):
        kept = base.params["block_0"]["attention"][name]["kernel"]
        merged = lora.params["block_0"]["attention"][name]["kernel"]
        if thin := attention.get(name, {}).get("kernel_lora"):
            kept = kept + 8.0 * thin["a"] @ thin["b"]
        np.testing.assert_allclose(merged, kept, atol=1e-6)
    assert np.abs(logits(lora) - logits(base)).max() > 1e-3


def adapted_by_hand(kept, saved, factor):
    """W + factor A B wherever there are an A and a B."""
    found = {}
    for name, value in kept.items():
        if isinstance(value, dict):
            found[name] = adapted_by_hand(value, saved.get(name, {}), factor)
        elif thin := saved.get(f"{name}_lora"):
            found[name] = value + factor * thin["a"] @ thin["b"]
        else:
            found[name] = value
    return found


def light_and_tied(name):
    """A model as it is read, and the float32 matrices that it should be."""
    base = load_model("base")
    if name == "tied":
        lora = LoRA((("embedding$|value/kernel$", True), (".*", False)), 2, 8.0)
        grown = lora.added(base.params, jax.random.key(0))
        numbers = iter(range(99))
        grown = jax.tree_util.tree_map_with_path(
            lambda path, x: x + 0.1 * (next(numbers) + 1) * (path[-1].key == "b"), grown
        )
        merged = adapted_by_hand(base.params, grown, 4.0)
        return replace(base, params=lora.seen(grown)), merged
    saved = Checkpoints(
        Path("lora/checkpoints"),
        left=read_left(Path("lora"), load_model("lora").experiment.initial),
    ).restore_params(12)
    merged = adapted_by_hand(base.params, saved, 8.0)
    if not Path("lora_int8").exists():
        assert main(["quantize", "lora", "--step", "12"]) == 0
    return load_model("lora_int8"), dequantized(quantize(merged))


@pytest.mark.parametrize("name", slow_but(["lora_int8", "tied"], "lora_int8"))
def test_all_who_read_say_what_the_plain_matrices_do(name):
    """`inspect --text`, `probe`, `generate` and `serve`."""
    loaded, params = light_and_tied(name)
    prompt, length = "the cat", 5

    @jax.jit
    def told(ids):
        logits, _ = loaded.model.apply({"params": params}, ids[None])
        return jax.nn.log_softmax(logits[0])

    (found,) = read(loaded, [prompt])
    padded = np.pad(found.tokens, (0, length))
    logs = np.asarray(told(padded))
    own = logs[found.scored - 1, found.tokens[found.scored]]
    np.testing.assert_allclose(found.answers.log_probabilities, own, atol=1e-5)
    assert score(loaded, [prompt]) == pytest.approx([own.sum()], abs=1e-4)

    ids = loaded.tokenizer.encode(prompt)
    with Engine(Programs(loaded, 1), loaded.tokenizer) as engine:
        (token,) = next(engine.answer(Job(ids, 1, Sampling(0.0), scored=True))).tokens
    row, written = np.pad(ids, (0, length)), []
    last = np.asarray(told(row))[len(ids) - 1]
    assert token.logprob == pytest.approx(last[token.id], abs=1e-4)
    for place in range(len(ids), len(row)):
        row[place] = np.asarray(told(row))[place - 1].argmax()
        written.append(row[place])
    (text,) = loaded.generate([prompt], length=length, temperature=0.0)
    assert text.removeprefix(prompt) == loaded.tokenizer.decode(written)


def test_training_scored_what_is_read(capsys):
    result = json.loads(Path("lora/result.json").read_text())
    assert result["trained_parameters"] == 2 * 2 * (16 + 16)
    assert result["parameters"] - result["trained_parameters"] == 3728
    assert main(["evaluate", "lora", "--step", "12", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["scores"]["loss"]
    (entry,) = (e for e in result["scores"] if e["evaluation"] == "likelihood")
    assert found == pytest.approx(entry["scores"]["loss"], abs=1e-6)


def test_a_run_begins_with_what_an_adapter_has_learnt():
    lora = load_model("lora")
    args = ["--initial", "FromRun", "--initial.run", "lora"]
    setup = set_up(override(load("tiny.py").experiment, args, "train"))
    first = setup.first_state().params["block_0"]["attention"]["query"]
    merged = lora.params["block_0"]["attention"]["query"]["kernel"]
    assert list(first) == ["kernel"]
    np.testing.assert_array_equal(first["kernel"], merged)


def test_what_begins_anew_and_stays_as_drawn_is_named():
    begun = ("--initial", "FromRun", "--initial.run", "base", "--model.tied", "False")
    begun += ("--initial.new", "lm_head", *LORA)

    def named(*more):
        experiment = override(load("tiny.py").experiment, [*begun, *more], "train")
        table = set_up(experiment).start.table
        return [path for path, how in table if "not trained" in how]

    assert named() == ["lm_head/kernel"]
    assert named("--adapter.whole", "^lm_head/") == []


@pytest.mark.slow
def test_scanned_adapters_begin_and_are_saved_as_unrolled_ones():
    deep = ["--initial", "FromRun", "--initial.run", "base", "--model.layers", "2"]
    deep += ["--initial.new", "block_1", *LORA]
    experiment = load("tiny.py").experiment
    plain, scanned = (
        set_up(override(experiment, [*deep, "--scan", scan], "train"))
        for scan in ("False", "True")
    )
    a, b = plain.first_state().params, scanned.to_saved(scanned.first_state()).params
    for block in ("block_0", "block_1"):
        one, other = (tree[block]["attention"]["query"] for tree in (a, b))
        np.testing.assert_array_equal(
            one["kernel_lora"]["a"], other["kernel_lora"]["a"]
        )
    assert plain.trained == scanned.trained == 2 * 128


def test_what_can_not_be_adapted_is_refused(capsys):
    def refused(*args):
        assert train(*args, "--run", "never") == 2
        assert not Path("never").exists()
        return " ".join(capsys.readouterr().err.split())

    assert "adapts what has been learnt" in refused(*LORA)
    Path("v.txt").write_text("t" + 16 * " 1" + "\n")
    vectors = ("--initial", "InitialVectors", "--initial.path", "v.txt")
    assert "anew, but for its vectors" in refused(*LORA, *vectors)
    wrong = ("--adapter.matrices", "querry", "True", ".*", "False")
    said = refused("--from", "base", *LORA, *wrong)
    assert "'querry' in adapter.matrices matches no parameter" in said
    assert "adapter.rank=16: 'block_0/attention/query/kernel' is 16 x 16" in refused(
        "--from", "base", *LORA[:3], "16", *LORA[4:]
    )
