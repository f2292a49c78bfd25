"""A conversation answers as the template says, forgets aloud, and obeys."""

import io

import pytest

from lm_jax.__main__ import main
from lm_jax.data.template import Turn
from lm_jax.errors import UserError
from lm_jax.generation import Sampling
from lm_jax.serving.conversation import Conversation
from lm_jax.serving.engine import Engine

GREEDY = Sampling(temperature=0.0)


@pytest.fixture
def talk(opened, single):
    pytest.importorskip("jinja2", reason="needs the extra `serve`")
    with Engine(single, opened.tokenizer) as engine:
        yield Conversation(opened, engine, "", 12, GREEDY)


def offline(opened, turns, length):
    """What `generate` says after some turns."""
    ids = opened.template.ids(turns, opened.tokenizer)
    new = opened.fitted.generate_ids([ids], length, GREEDY, 0)[0]
    return opened.tokenizer.decode(new)


def test_each_answer_follows_all_that_was_said(talk, opened):
    talk.system = "a dog"
    said = [Turn("system", "a dog")]
    for text in ("the cat", "my bird"):
        said.append(Turn("user", text))
        forgotten, pieces = talk.say(text)
        answer = "".join(pieces)
        assert forgotten == 0 and answer == offline(opened, said, 12)
        said.append(Turn("assistant", answer))
    assert talk.turns == said[1:] and talk.seed == 2


def test_what_no_longer_fits_is_forgotten_and_the_system_text_stays(talk, opened):
    talk.system = "a dog"
    told = []
    for text in ("the cat", "my bird", "one fish", "the moon"):
        forgotten, pieces = talk.say(text)
        before = [Turn("system", "a dog"), *talk.turns]
        answer = "".join(pieces)
        told.append(forgotten)
        assert answer == offline(opened, before, 12)
    # A turn of 8 characters and an answer of 12 and a space: three pairs don't fit.
    assert told == [0, 0, 2, 2] and len(talk.turns) == 4


def test_what_is_too_long_alone_is_refused_and_not_kept(talk):
    list(talk.say("the cat")[1])
    kept = list(talk.turns)
    with pytest.raises(UserError, match="71 tokens .* and 52 fit"):
        talk.say("a" * 70)
    with pytest.raises(UserError, match="'é'"):
        talk.say("é")
    assert talk.turns == kept


def test_an_answer_that_was_interrupted_was_said_so_far(talk):
    talk.length = 30
    _, pieces = talk.say("the cat")
    first = next(pieces)
    pieces.close()
    assert talk.turns == [Turn("user", "the cat"), Turn("assistant", first)]


def chatted(monkeypatch, capsys, run, lines, *options):
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    capsys.readouterr()
    assert main(["chat", str(run), "--length", "12", *options]) == 0
    return capsys.readouterr()


def test_each_line_of_a_file_is_a_turn(monkeypatch, capsys, run, opened):
    pytest.importorskip("jinja2", reason="needs the extra `serve`")
    lines = "the cat\n\n/nothing\n/help\nmy bird\n/system a dog\nthe cat\n/reset\n"
    lines += "the cat\n" + "a" * 90 + "\n/exit\nthe moon\n"
    said = chatted(monkeypatch, capsys, run, lines, "--temperature", "0")
    first = offline(opened, [Turn("user", "the cat")], 12)
    turns = [Turn("user", "the cat"), Turn("assistant", first), Turn("user", "my bird")]
    dog = [Turn("system", "a dog"), Turn("user", "the cat")]
    wanted = [first, offline(opened, turns, 12), *[offline(opened, dog, 12)] * 2]
    assert said.out.split("\n") == [*wanted, ""]
    assert "Template: plain: the run was trained on no turns" in said.err
    assert "There is no /nothing. There is: /exit, /help" in said.err
    assert "/system TEXT" in said.err and "say less" in " ".join(said.err.split())
    assert "Traceback" not in said.err


def test_what_is_forgotten_is_said(monkeypatch, capsys, run):
    pytest.importorskip("jinja2", reason="needs the extra `serve`")
    said = chatted(monkeypatch, capsys, run, "the cat sees the moon\n" * 4)
    assert "(The oldest 2 turns no longer fit and are forgotten.)" in said.err


def test_bad_options_are_one_message(capsys, run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    for options, message in (
        (["--temperature", "-1"], "temperature=-1"),
        (["--length", "0"], "length=0"),
        (["--step", "7"], "7"),
    ):
        assert main(["chat", str(run), *options]) == 2
        assert message in capsys.readouterr().err
