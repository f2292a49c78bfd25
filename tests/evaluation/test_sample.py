"""A sample begins as its prompt says, or as the text does."""

from types import SimpleNamespace

import numpy as np
import pytest

from lm_jax.errors import UserError
from lm_jax.evaluation import Sample
from lm_jax.tokenizers import Bytes, Characters, Ids, Words
from lm_jax.tokenizers.trained import beginning


@pytest.mark.parametrize(
    ("tokenizer", "first"),
    [
        (Characters().train(["ab\nc"]), "\n"),
        (Characters().train(["ab c"]), " "),
        (Characters().train(["春眠"]), "春"),
        (Characters(unknown=True).train(["春眠"]), "春"),
        (Characters().train(["ab\nc"], end=True), "<|end|>"),
        (Bytes().train(["春"]), "\n"),
        (Words().train(["one two\n"]), "<eos>"),
        (Words().train(["one two"], end=True), "<|end|>"),
        (Ids(7, 3).train([]), "3"),
        (Ids(7, None).train([]), "0"),
    ],
)
def test_a_text_begins_after_an_end_or_a_space_of_its_own(tokenizer, first):
    ids = beginning(tokenizer)
    assert ids.shape == (1,) and ids.dtype == np.int32
    assert tokenizer.symbols(ids) in ([first], [repr(first)[1:-1]])
    Sample().check(tokenizer, "sample")


def test_without_words_or_spaces_it_is_the_first_that_is_known():
    tokenizer = Words().train(["one"])
    (first,) = beginning(tokenizer)
    assert first != tokenizer.unknown_id


class Echo:
    """A model that continues any prompt with what it was asked to continue."""

    writes, seed, step, policy = True, 0, 1, "all"
    score = score_with_cache = vectors = rankings = staticmethod(print)
    items = predictions = staticmethod(print)

    def __init__(self, tokenizer):
        self.data = SimpleNamespace(tokenizer=tokenizer, frame=None)

    def generate(self, prompts, length, sampling, seed):
        self.prompt = prompts[0].tolist()
        return np.array([[1] * length])


def test_a_sample_shows_its_prompt_and_what_the_text_began_with_is_not_shown():
    model = Echo(Characters().train(["\nab"]))
    assert Sample(length=3).run(model, "validation").texts == ("aaa",)
    assert model.prompt == [0]
    assert Sample("b", length=2).run(model, "validation").texts == ("baa",)


@pytest.mark.parametrize(
    ("tokenizer", "prompt", "tokens"),
    [
        (Characters().train(["ab"], end=True), "ab", ["<|end|>", "a", "b"]),
        (Words().train(["one two\n"], end=True), "two", ["<|end|>", "two"]),
        (Ids(7, 3).train([]), "1 2", ["3", "1", "2"]),
        (Ids(7, 3).train([]), "3 1", ["3", "1"]),
        (Ids(7, None).train([]), "1 2", ["1", "2"]),
        (Characters().train(["ab"]), "ab", ["a", "b"]),
        (Characters().train(["ab"], end=True), "", []),
    ],
)
def test_a_prompt_begins_a_document_where_there_are_documents(
    tokenizer, prompt, tokens
):
    """The end that training saw before each document is not shown."""
    model = Echo(tokenizer)
    (text,) = Sample(prompt, length=1).run(model, "validation").texts
    assert tokenizer.symbols(model.prompt) == tokens
    assert text == tokenizer.decode([*tokenizer.encode(prompt), 1])


def test_a_prompt_that_is_not_of_the_text_is_named_by_its_flag():
    tokenizer = Characters().train(["ab"])
    with pytest.raises(UserError, match=r"^--evaluations.mine.prompt 'x' is not"):
        Sample("x").check(tokenizer, "mine")
    Sample("x", length=0).check(tokenizer, "mine")
