"""Texts that are written: where they end, what is said of them, and any number."""

import json
import math

import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.counting import NGram
from lm_jax.errors import UserError
from lm_jax.generation import Beam, Choices, Sampling
from lm_jax.models import EncoderDecoder, StoryReader, Transformer, WordVectors
from lm_jax.runs.drafting import Drafted
from lm_jax.runs.model import CountedModel, NeuralModel
from lm_jax.runs.prompts import as_line, read_prompts
from lm_jax.runs.writing import write_all
from lm_jax.tokenizers import Bytes
from tests.inspection.made import SMALL, decoder

POEM = "春眠不觉晓😀，处处闻啼鸟。" * 4
DRAWN = Sampling(temperature=1.0)


@pytest.fixture(scope="module")
def poem():
    """An n-gram model of bytes: characters are of three and four tokens."""
    tokenizer = Bytes().train([])
    fitted = NGram(4).fit(tokenizer.encode(POEM), tokenizer.vocab_size)
    return CountedModel(None, tokenizer, fitted)


@pytest.fixture(scope="module")
def network():
    return decoder(end=True)


@pytest.fixture(scope="module")
def endless():
    """A network that knows no end of a document."""
    return decoder()


@pytest.mark.parametrize("name", ["poem", "network"])
@pytest.mark.slow
def test_pieces_join_to_the_whole(name, request):
    """Also where a character is of several tokens, and with a stop string."""
    model, prompts = request.getfixturevalue(name), ["春眠", "不"]
    sampling = Sampling(0.1 if name == "poem" else 1.0)
    prompts = prompts if name == "poem" else ["the cat", "a"]
    for stop in ((), ("鸟", "e")):
        seen = []
        drawn = (prompts, 60, sampling, 1)
        rows = model.write(*drawn, stop=stop, told=seen.append)
        whole = model.write(*drawn, stop=stop)
        assert [row[0][:3] for row in rows] == [row[0][:3] for row in whole]
        assert len(seen) > 1
        for number, (found,) in enumerate(rows):
            pieces = [texts[number] for texts in seen] + [found.text]
            for piece, after in zip(pieces, pieces[1:], strict=False):
                assert after.startswith(piece)
            assert "\ufffd" not in "".join(pieces[:-1]) or name == "network"
            assert not any(each in found.text for each in stop)


@pytest.mark.parametrize("name", ["poem", "endless"])
@pytest.mark.slow
def test_a_text_is_cut_at_the_first_stop_and_no_later_token_counts(name, request):
    model = request.getfixturevalue(name)
    sampling = Sampling(0.1 if name == "poem" else 1.0)
    prompt, stop = ("春眠", "鸟") if name == "poem" else ("the cat", "e")
    ((free,),) = model.write([prompt], 100, sampling, 0)
    assert free.finish_reason == "length" and len(free.tokens) == 100
    place = free.text.index(stop)
    ((found,),) = model.write([prompt], 100, sampling, 0, stop=["!!", stop])
    assert found.text == free.text[:place] and found.finish_reason == "stop"
    count = len(model.tokenizer.encode(free.text[: place + 1]))
    assert found.tokens == free.tokens[:count]
    assert found.log_probabilities == free.log_probabilities[:count]


def test_log_probabilities_are_the_models_own_however_it_was_drawn(poem):
    cuts = Sampling(0.5, top_k=2, repetition_penalty=1.5, frequency_penalty=0.5)
    ((found,),) = poem.write(["春"], 12, cuts, 3)
    ids = poem.tokenizer.encode("春").tolist()
    tokens = [poem.tokenizer.symbols([i])[0] for i in range(256)]
    for token, log_p in zip(found.tokens, found.log_probabilities, strict=True):
        p = poem.fitted.next_probabilities(np.array([ids[-3:]]))[0]
        ids.append(tokens.index(token))
        assert log_p == pytest.approx(math.log(p[ids[-1]]), abs=1e-5)
    assert found.score == pytest.approx(sum(found.log_probabilities), abs=1e-4)


@pytest.mark.slow
def test_any_number_goes_in_and_comes_out(network):
    """Empty ones and long ones too, and those written together change nothing."""
    prompts = ["the cat", "", "a dog sees " * 9, "my", "the"]
    found = write_all(network, prompts, 9, DRAWN, 2, together=2)
    assert len(found) == len(prompts)
    assert [row[0].prompt for row in found] == prompts
    at_once = network.write([p or None for p in prompts], 9, DRAWN, 2)
    assert [row[0].text for row in found] == [row[0].text for row in at_once]
    assert write_all(network, [], 9, DRAWN, 2) == []


@pytest.mark.slow
def test_a_text_ends_where_a_document_does(network, endless):
    end = network.tokenizer.end_id
    (ids,) = network.generate_ids([np.array([end, 3, 4])], 300, DRAWN, 0)
    count = ids.tolist().index(end)
    prompt = network.tokenizer.decode([3, 4])
    ((found,),) = network.write([prompt], 300, DRAWN, 0, to_end=True)
    assert found.finish_reason == "stop" and len(found.tokens) == count + 1
    assert found.text == network.tokenizer.decode(ids[:count])
    with pytest.raises(UserError, match="--to-end"):
        endless.write([prompt], 3, to_end=True)


@pytest.mark.slow
def test_a_beam_writes_its_best(network):
    (row,) = network.write(["the cat"], 8, beam=Beam(3, best=3))
    assert [found.score for found in row] == sorted(
        (found.score for found in row), reverse=True
    )
    line = json.loads(as_line(row))
    assert line["text"] == row[0].text and len(line["others"]) == 2
    assert network.generate("the cat", 8, beam=Beam(3)) == ["the cat" + row[0].text]


def test_a_model_that_counts_has_no_beam(poem):
    with pytest.raises(UserError, match="leave --beam out"):
        poem.write(["春"], 3, beam=Beam(2))


def test_a_model_that_counts_is_constrained_too(poem):
    pytest.importorskip("llguidance", reason="needs the extra `constraints`")
    allowed = ("花落", "花", "鸟")
    for seed in range(4):
        asked = (["春", "眠"], 6, DRAWN, seed)
        for (found,) in poem.write(*asked, constraint=Choices(allowed)):
            assert found.text in allowed and found.finish_reason == "stop"


def test_prompts_are_read_from_lines(tmp_path):
    lines = tmp_path / "p.txt"
    lines.write_bytes("one\r\n\n春 two\n".encode())
    assert read_prompts(lines) == ["one", "", "春 two"]
    objects = tmp_path / "p.jsonl"
    objects.write_text('{"prompt": "a\\nb", "more": 1}\n{"prompt": ""}')
    assert read_prompts(objects) == ["a\nb", ""]
    for file in (lines, objects):  # some programs' files begin with a mark
        read = read_prompts(file)
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
        assert read_prompts(file) == read


@pytest.mark.parametrize(
    "line, words",
    [
        ("{", "line 2 is no JSON"),
        ("[]", 'line 2 has no text as its "prompt"'),
        ("", "2"),
    ],
)
def test_a_line_without_a_prompt_is_named(line, words, tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text(f'{{"prompt": "a"}}\n{line}\n')
    with pytest.raises(UserError, match=words):
        read_prompts(file)
    with pytest.raises(UserError, match="no.txt can't be read"):
        read_prompts(tmp_path / "no.txt")


@pytest.mark.parametrize(
    "more, words",
    [
        ("--beam.best 2", "--beam.size"),
        ("--prompt a --prompts b", "not both"),
        ("--beam.sise 2", "--beam.size"),
        ("--choices a --regex b", "Give one of"),
        ("--contrastive.alpha 0.1", "--contrastive.candidates"),
        ("--schema no.json", "no.json can't be read"),
    ],
)
def test_what_does_not_go_together_is_refused(more, words, capsys, tmp_path):
    (tmp_path / "b").write_text("x\n")
    assert main(["generate", str(tmp_path), *more.split()]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_a_draft_changes_nothing_that_is_written(network, poem):
    drafted = Drafted.of(
        network, decoder(Transformer(**SMALL | {"layers": 1}), end=True)
    )
    asked = (["the cat", "a"], 12, Sampling(temperature=0.0), 0)
    for more in ({}, {"stop": ["e"]}):
        rows, expected = (model.write(*asked, **more) for model in (drafted, network))
        for (one,), (other,) in zip(rows, expected, strict=True):
            assert one[:3] == other[:3] and one.finish_reason == other.finish_reason
    for other, words in ((poem, "the draft is none"), (decoder(), "another tokenizer")):
        with pytest.raises(UserError, match=words):
            Drafted.of(network, other)
    with pytest.raises(UserError, match="no draft"):
        drafted.write(*asked, beam=Beam(2))


@pytest.mark.parametrize("model", [EncoderDecoder(), StoryReader(), WordVectors()])
def test_a_model_that_reads_no_text_by_itself_has_no_features(model):
    loaded = NeuralModel(None, Bytes().train([]), model, {}, context=8, step=1)
    with pytest.raises(UserError, match="reads no text by itself"):
        loaded.features(["a"])
