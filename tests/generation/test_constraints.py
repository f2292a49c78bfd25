"""Constrained texts are what they should be, with the model's own probabilities."""

import builtins
import json
import re
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer as Pieces
from tokenizers import decoders, models, pre_tokenizers, trainers

from lm_jax.errors import UserError
from lm_jax.generation import (
    Beam,
    Choices,
    Regex,
    Sampling,
    Schema,
    continue_prompts,
    steps,
)
from lm_jax.generation.constraints import Grammar
from lm_jax.generation.spelled import vocabulary_of
from lm_jax.models import LSTM, Elman, Recurrent
from lm_jax.runs.writing import Texts
from lm_jax.tokenizers import Bytes, Characters, Subwords, WithSpecials, Words
from lm_jax.tokenizers.pretrained import PieceTokenizer
from tests.first import applied, first_params
from tests.properties import slow_but

pytest.importorskip("llguidance", reason="needs the extra `constraints`")

TEXT = 'the answer is "yes" or "no", 0123456789 {a: [b]}\n天气很好，我们去公园。ü\n'
OBJECT = {
    "type": "object",
    "properties": {
        "a": {"type": "integer", "minimum": 0, "maximum": 99},
        "b": {"enum": ["yes", "no", "好"]},
    },
    "required": ["a", "b"],
    "additionalProperties": False,
}
SCHEMA = Schema(json.dumps(OBJECT))


def byte_level():
    made = Pieces(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<|x|>"], initial_alphabet=alphabet
    )
    made.train_from_iterator([TEXT * 3], trainer)
    return PieceTokenizer(made.to_str(), eos="<|x|>")


def metaspace():
    spelled = ["<unk>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    spelled += ["▁yes", "yes", "▁no", "no", "好", "▁", "▁the"]
    vocab = {piece: i for i, piece in enumerate(spelled)}
    made = Pieces(models.BPE(vocab, [], unk_token="<unk>", byte_fallback=True))
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    made.add_special_tokens(["</s>"])
    return PieceTokenizer(made.to_str(), eos="</s>")


TOKENIZERS = {
    "characters": lambda: Characters().train([TEXT], end=True),
    "characters, no end": lambda: Characters().train([TEXT]),
    "bytes": lambda: Bytes().train([TEXT], end=True),
    "subwords": lambda: Subwords(size=310).train([TEXT * 20], end=True),
    "byte-level pieces": byte_level,
    "pieces of SentencePiece": metaspace,
    "with specials": lambda: WithSpecials(Bytes().train([TEXT]), ("<mask>",)),
}


@dataclass(frozen=True, eq=False)
class Speaker(Texts):
    """Continues texts by a network, without a run."""

    model: Any
    params: Any

    def continuations(self, prompts, length, sampling, seed, **how):
        known = self.tokenizer.vocab_size
        given = self.model, self.params, prompts, length, 64, sampling, seed
        return continue_prompts(*given, known=known, **how)


def fitted(tokenizer, model=None, scale=3.0, more=5):
    """A small model with opinions, of more ids than the tokenizer has."""
    vocab = tokenizer.vocab_size + more
    model = model or Recurrent(Elman(), layers=1, width=16)
    model = model.clone(vocab_size=vocab)
    params = first_params(model, 0, jnp.zeros((1, 4), jnp.int32))
    params = jax.tree.map(lambda p: p * scale if p.ndim > 1 else p, params)
    return Speaker(None, tokenizer, model, params)


@pytest.mark.parametrize("name", slow_but(TOKENIZERS, "bytes", "byte-level pieces"))
def test_every_tokenizer_writes_choices_expressions_and_json(name):
    model = fitted(TOKENIZERS[name]())
    choices = ("yes", "no", "the answer", "天气", "天很好")
    prompts, how = ["the", "天气", "no", None], Sampling()
    for (found,) in model.write(prompts, 30, how, constraint=Choices(choices)):
        assert found.text in choices and found.finish_reason == "stop"
    expression = r"[天气很好]{2,3}: \d{1,2}( or \d)?"
    for (found,) in model.write(prompts, 40, how, constraint=Regex(expression)):
        assert re.fullmatch(expression, found.text), found.text
    texts = model.write(prompts, 300, how, constraint=SCHEMA)
    for (found,) in texts:
        value = json.loads(found.text)
        assert set(value) == {"a", "b"} and 0 <= value["a"] <= 99
        assert value["b"] in ("yes", "no", "好") and found.finish_reason == "stop"
    assert len({found.text for (found,) in texts}) > 1


def test_words_are_chosen_among():
    tokenizer = Words().train(["it is very good . it is bad\n"], end=True)
    model = fitted(tokenizer)
    allowed = ("very good", "bad", "good")
    for prompt in ("it is", None):
        for seed in range(4):
            ((found,),) = model.write(
                [prompt], 5, seed=seed, constraint=Choices(allowed)
            )
            assert found.text.removeprefix(" ") in allowed
    ((found,),) = model.write(["it"], 5, constraint=Regex("^is (very )+good$"))
    assert re.fullmatch(" is (very )+good", found.text) or found.finish_reason != "stop"
    with pytest.raises(UserError, match="'awful' can't be spelled"):
        model.generate("it is", constraint=Choices(("awful", "bad")))
    with pytest.raises(UserError, match="spells every mark of JSON"):
        model.generate("it is", constraint=SCHEMA)


def test_wordpieces_are_refused():
    vocab = {w: i for i, w in enumerate(["[UNK]", "play", "##ing", "##ed", "a", "."])}
    made = Pieces(models.WordPiece(vocab, unk_token="[UNK]"))
    made.decoder = decoders.WordPiece()
    tokenizer = PieceTokenizer(made.to_str())
    with pytest.raises(UserError, match="don't join to a text"):
        Grammar(Choices(("play",)), tokenizer, None)


def paths(spelled, texts, so_far=""):
    """Every way to cut any of some texts into tokens."""
    if so_far in texts:
        yield ()
    for i, piece in enumerate(spelled):
        longer = so_far + piece
        if piece and any(text.startswith(longer) for text in texts):
            for rest in paths(spelled, texts, longer):
                yield (i, *rest)


@pytest.mark.parametrize("ends", [True, False])
def test_probabilities_are_the_models_own_renormalised(ends):
    """Against every cut of every choice: at each token p / sum of the allowed ones."""
    tokenizer = WithSpecials(Characters().train(["abc"], end=ends), ())
    object.__setattr__(tokenizer, "names", ("ab", "bc"))  # two tokens of two characters
    spelled = ["a", "b", "c", *([""] * ends), "ab", "bc"]
    texts = ("abc", "ab", "cab", "b")
    end = 3 if ends else None

    class Spelled(type(tokenizer)):
        def spellings(self):
            return [piece.encode() for piece in spelled]

    tokenizer = Spelled(tokenizer.tokenizer, tokenizer.names)
    model = fitted(tokenizer, scale=6.0, more=2)
    prompt = np.array([0, 1], np.int32)
    cuts = sorted(paths(spelled, texts))
    assert len(cuts) > 6
    # Without an end, a text that may go on does; with one it ends by it.
    whole = {tuple(c) + ((end,) if ends else ()) for c in cuts}
    if not ends:
        whole = {c for c in cuts if not any(o[: len(c)] == c != o for o in cuts)}
        longer = {c for c in cuts if "".join(spelled[i] for i in c) == "ab"}
        whole -= longer  # "abc" begins with it
    else:
        over = {"abc", "cab", "b"}  # nothing may follow: no end is drawn
        whole = {
            c if "".join(spelled[i] for i in c) in over else (*c, end) for c in cuts
        }
    expected = {path: chance(model, prompt, path, whole) for path in whole}
    assert np.isclose(sum(expected.values()), 1)
    grammar = Grammar(Choices(texts), tokenizer, end)
    found = drawn(model, prompt, grammar, end, 4000)
    assert set(found) <= set(expected)
    for path, p in expected.items():
        spread = 4 * np.sqrt(p * (1 - p) / 4000) + 1e-9
        assert abs(found.get(path, 0) / 4000 - p) < spread, (path, p)


def chance(model, prompt, path, whole):
    """The product of the renormalised probabilities along a path."""
    result = 1.0
    tokens = np.zeros((1, 8), np.int32)
    tokens[0, : len(prompt) + len(path)] = [*prompt, *path]
    logits = applied(model.model, model.params, tokens)[0][0, len(prompt) - 1 :]
    for k in range(len(path)):
        allowed = {w[k] for w in whole if len(w) > k and w[:k] == path[:k]}
        p = np.exp(np.asarray(logits[k], np.float64))
        result *= p[path[k]] / sum(p[i] for i in allowed)
    return result


def drawn(model, prompt, grammar, end, count):
    """How often each path is drawn."""
    found = {}
    rows = model.continuations(
        [prompt] * count, 5, Sampling(), 0, end=end, grammar=grammar
    )
    for (one,) in rows:
        assert one.whole
        path = tuple(one.tokens.tolist())
        found[path] = found.get(path, 0) + 1
    return found


def test_a_row_is_as_alone_and_nothing_is_compiled_again():
    model = fitted(TOKENIZERS["characters"](), Recurrent(LSTM(), width=16))
    prompts = ["the", "answer is", "no"]
    found = model.write(prompts, 40, constraint=SCHEMA)
    before = steps.advance._cache_size()
    model.write(prompts, 40, seed=1, constraint=Regex("[a-e]{40}"))
    assert steps.advance._cache_size() == before
    for number, prompt in enumerate(prompts):
        alone = model.write([prompt], 40, constraint=SCHEMA, numbers=[number])
        assert alone[0][0].text == found[number][0].text


def test_log_probabilities_are_before_the_constraint():
    model = fitted(TOKENIZERS["bytes"]())
    ((found,),) = model.write(["the"], 9, constraint=Choices(("ab",)))
    tokens = np.array([[256, *b"theab"]], np.int32)
    logits, _ = model.model.apply({"params": model.params}, jnp.asarray(tokens))
    known = logits[0, 3:5, : model.tokenizer.vocab_size]
    expected = jax.nn.log_softmax(known, -1)[np.arange(2), np.array([*b"ab"])]
    np.testing.assert_allclose(found.log_probabilities, expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["bytes", "subwords", "characters, no end"])
def test_what_needs_more_tokens_than_there_may_be_is_refused(name, monkeypatch):
    tokenizer = TOKENIZERS[name]()
    model = fitted(tokenizer)
    monkeypatch.setattr(Texts, "continuations", None)  # nothing is compiled
    spelled = [piece.decode(errors="replace") for piece in tokenizer.spellings()]
    text = "天气很好" * 2
    sizes = [0] + [99] * len(text)
    fewest = {
        "bytes": 24,
        "characters, no end": 8,
    }.get(name)
    if fewest is None:  # the fewest pieces that join to it
        own = {i: len(c.encode()) for i, c in enumerate(text)}
        for stop in range(1, len(text) + 1):
            cut = [
                sizes[start] + (1 if text[start:stop] in spelled else 99)
                for start in range(stop)
            ]
            by_bytes = sizes[stop - 1] + own[stop - 1]
            sizes[stop] = min(*cut, by_bytes)
        fewest = sizes[-1]
    expression = Regex("(天气很好){2,}|[0-9]{30,}")
    message = f"needs {fewest} tokens or more, and the text may have {fewest - 1}"
    with pytest.raises(UserError, match=message):
        model.write(["the"], fewest - 1, constraint=expression)
    Grammar(expression, tokenizer, None).check(fewest)
    with pytest.raises(UserError, match="shortest of the choices needs"):
        model.write(["the"], fewest - 1, constraint=Choices((text,)))


def test_a_text_that_is_cut_off_is_an_error():
    model = fitted(TOKENIZERS["bytes"]())
    ((found,),) = model.write(["the"], 5, constraint=SCHEMA)
    assert found.finish_reason == "length" and len(found.tokens) == 5
    with pytest.raises(UserError, match="1 of 1 texts are cut off after 5 tokens"):
        model.generate("the", length=5, constraint=SCHEMA)


@pytest.mark.parametrize(
    ("text", "space", "most"),
    [
        ("", " ", 0),
        ("{", " ", 1),
        ('{"a":', " ", 1),
        ('{"a": 1', " ", 1),
        ("{", "\n", 1),
        ("{\n", " ", 16),
        ('{"a": 1,', "\t", 0),
    ],
)
def test_white_space_of_a_schema_is_bounded(text, space, most):
    row = Grammar(SCHEMA, Bytes().train([]), None).begin()
    for byte in text.encode():
        row.add(byte)
    count = 0
    while count < 60 and np.unpackbits(row.allowed, bitorder="little")[ord(space)]:
        row.add(ord(space))
        count += 1
    assert count == most


def test_a_model_that_loves_spaces_still_ends():
    model = fitted(TOKENIZERS["characters"]())
    space = int(model.tokenizer.encode(" ")[0])

    class Spaces(type(model.model)):
        def logits(self, hidden):
            return super().logits(hidden).at[..., space].add(1000.0)

    fields = {"cell": Elman(), "layers": 1, "width": 16}
    spaces = Spaces(**fields, vocab_size=model.model.vocab_size)
    loving = Speaker(None, model.tokenizer, spaces, model.params)
    ((found,),) = loving.write(["the"], 300, constraint=SCHEMA)
    assert json.loads(found.text) and found.text.count(" ") <= 8


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "is no JSON"),
        ("[1]", "a schema is an object"),
        ('{"a": {"type": "string"}}', 'Fields are named in "properties"'),
        ('{"type": "strng"}', "Invalid type: strng"),
        ('{"properties": 3}', "properties must be an object"),
        ('{"type": "string", "minLength": 3, "maxLength": 1}', "Unsatisfiable"),
        ('{"type": "string", "pattern": "(?=a)b"}', "look-around"),
    ],
)
def test_a_schema_that_is_none_is_refused(document, said):
    with pytest.raises(UserError, match=said) as raised:
        Grammar(Schema(document), Bytes().train([]), None)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("a(b", "unclosed group"), ("(?=a)b", "look-around"), (r"\1", "backreferences")],
)
def test_an_expression_that_is_none_is_refused(pattern, said):
    with pytest.raises(UserError, match=said) as raised:
        Grammar(Regex(pattern), Bytes().train([]), None)
    assert "\n" not in str(raised.value) and repr(pattern) in str(raised.value)
    assert Grammar(Regex("^ab$"), Bytes().train([]), None).begin().over is False


def test_what_the_vocabulary_lacks_is_never_begun():
    tokenizer = Characters().train(["abc"])
    row = Grammar(Regex("aé|b"), tokenizer, None).begin()
    assert np.flatnonzero(np.unpackbits(row.allowed, bitorder="little")).tolist() == [1]
    with pytest.raises(UserError, match="nothing of it can be spelled"):
        Grammar(Regex("é+"), tokenizer, None)
    with pytest.raises(UserError, match="nothing of it can be spelled"):
        Grammar(SCHEMA, tokenizer, None)
    with pytest.raises(UserError, match="lacks 'é'"):
        Grammar(Choices(("aé",)), tokenizer, None)
    with pytest.raises(UserError, match="none of them is empty"):
        Grammar(Choices(("a", "")), tokenizer, None)


def test_what_else_can_not_stand_beside_a_constraint():
    model = fitted(TOKENIZERS["bytes"]())
    with pytest.raises(UserError, match="leave the search out"):
        model.write(["a"], 5, beam=Beam(2), constraint=Choices(("a",)))
    with pytest.raises(UserError, match="leave the stop strings out"):
        model.write(["a"], 5, stop=["x"], constraint=Choices(("a",)))


def test_without_the_extra_one_message_says_how_to_install_it(monkeypatch):
    vocabulary_of.cache_clear()
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "llguidance":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match="extra `constraints`"):
        fitted(Bytes().train([])).generate("a", constraint=Choices(("a",)))
