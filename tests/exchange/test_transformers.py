"""Folders that transformers writes are read, and those written are read by it.

Random weights in float32: logits differ by less than 1e-4 of their spread, and greedy
continuations are the same.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.exchange.importing import read_checkpoint
from lm_jax.generation import Sampling, generate
from lm_jax.models import EncoderDecoder, Transformer
from tests.exchange.made import CASES, VOCAB, write_model
from tests.properties import slow_but

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

KINDS = {
    Transformer: transformers.AutoModelForCausalLM,
    EncoderDecoder: transformers.AutoModelForSeq2SeqLM,
}
DECODERS = [case for case, (_, model) in CASES.items() if type(model) is Transformer]
# Longer than a window of four and the lengths that positions are scaled from.
TOKENS = np.random.default_rng(1).integers(3, VOCAB, (2, 24))
SOURCE = np.random.default_rng(2).integers(3, VOCAB, (2, 30))


def theirs(folder, model):
    """The model of transformers in a folder, of which nothing is new or unused."""
    kind = KINDS.get(type(model), transformers.AutoModelForMaskedLM)
    found, said = kind.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager", dtype="float32"
    )
    problems = {k: set(v) - {"final_logits_bias"} for k, v in said.items() if v}
    assert not any(problems.values()), problems
    return found.eval()


def near(folder, checkpoint, reference):
    """Check that the logits of both are the same, to 1e-4 of their spread."""
    tokens = torch.from_numpy(TOKENS)
    if isinstance(checkpoint.model, EncoderDecoder):
        given = {"input_ids": torch.from_numpy(SOURCE), "decoder_input_ids": tokens}
        ours = {"source": jnp.asarray(SOURCE)}
    else:
        given, ours = {"input_ids": tokens}, {}
    with torch.no_grad():
        expected = reference(**given).logits.numpy()
    read = jax.jit(checkpoint.model.apply)
    found, _ = read({"params": checkpoint.params}, jnp.asarray(TOKENS), **ours)
    assert np.abs(found - expected).max() < 1e-4 * expected.std()


@pytest.mark.parametrize("case", slow_but(CASES, "gpt2", "llama"))
def test_logits_are_those_of_transformers_in_both_directions(case, tmp_path):
    name, model = CASES[case]
    ours, again = tmp_path / "ours", tmp_path / "again"
    write_model(ours, model, name)
    reference = theirs(ours, model)
    near(ours, read_checkpoint(ours), reference)
    reference.save_pretrained(again)
    found = read_checkpoint(again)
    assert found.architecture == name and not found.notes
    near(again, found, reference)


@pytest.mark.parametrize("case", slow_but(DECODERS, "llama"))
def test_greedy_continuations_are_the_same(case, tmp_path):
    """Prompts of several lengths, continued with a cache past every window."""
    name, model = CASES[case]
    write_model(tmp_path, model, name)
    found, reference = read_checkpoint(tmp_path), theirs(tmp_path, model)
    prompts = [TOKENS[0, :9], TOKENS[1, :4]]
    made = generate(
        found.model, found.params, prompts, 12, 64, Sampling(temperature=0.0), 0
    )
    for prompt, new in zip(prompts, made, strict=True):
        expected = reference.generate(
            torch.from_numpy(prompt)[None],
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        np.testing.assert_array_equal(new, expected[0, len(prompt) :])
