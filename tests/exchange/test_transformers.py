"""Folders that transformers writes are read, and those written are read by it.

Random weights in float32: logits differ by less than 1e-4 of their spread, and greedy
continuations are the same.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.exchange.reading import read_checkpoint
from lm_jax.generation import Beam, Sampling, continue_prompts, generate
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


ENDS = 7
SEARCHES = {
    "greedy": (None, 1.0, {}),
    "beam": (Beam(3, 1.0, best=3), 1.0, {}),
    "short": (Beam(4, 0.0, best=2), 1.0, {}),
    "penalised": (Beam(4, 2.0, best=4), 1.3, {"no_repeat_ngram": 2}),
}


def continued(reference, given, prompt, beam, penalties):
    """What transformers writes after a prompt: the best texts, without padding."""
    found = reference.generate(
        **given,
        max_new_tokens=12,
        do_sample=False,
        num_beams=beam.size if beam else 1,
        num_return_sequences=beam.best if beam else 1,
        length_penalty=beam.length_penalty if beam else 1.0,
        early_stopping=True,
        repetition_penalty=penalties.repetition_penalty,
        no_repeat_ngram_size=penalties.no_repeat_ngram or 0,
        eos_token_id=ENDS,
        pad_token_id=0,
    )
    texts = [row[prompt:].tolist() for row in found]
    return [t[: t.index(ENDS) + 1] if ENDS in t else t for t in texts]


@pytest.mark.parametrize("search", slow_but(SEARCHES))
@pytest.mark.parametrize("case", ["gpt2", "t5", "bart"])
def test_what_is_searched_is_the_same(case, search, tmp_path):
    """Prompts and sources of several lengths in one batch; the end comes early."""
    name, model = CASES[case]
    write_model(tmp_path, model, name)
    found, reference = read_checkpoint(tmp_path), theirs(tmp_path, model)
    beam, repetition, more = SEARCHES[search]
    sampling = Sampling(temperature=0.0, repetition_penalty=repetition, **more)
    of_sources = isinstance(model, EncoderDecoder)
    texts = [SOURCE[0, :5], SOURCE[1, :9], SOURCE[0, 9:], SOURCE[1, 5:7]]
    prompts = [np.array([2])] * len(texts) if of_sources else texts
    made = continue_prompts(
        *(found.model, found.params, prompts, 12, 64, sampling, 0),
        beam=beam,
        end=ENDS,
        sources=texts if of_sources else None,
    )
    for text, prompt, row in zip(texts, prompts, made, strict=True):
        read = torch.from_numpy(text)[None]
        given = {"input_ids": read, "attention_mask": torch.ones_like(read)}
        if of_sources:
            given["decoder_start_token_id"] = 2
        expected = continued(reference, given, len(prompt), beam, sampling)
        assert [each.tokens.tolist() for each in row] == expected
