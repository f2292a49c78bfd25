"""Answers of many at once are those of each alone, and slots become free again."""

import queue
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.errors import NotFinite, UserError
from lm_jax.generation import History, Sampling, generate, sample
from lm_jax.models import (
    LSTM,
    GatedConv,
    GatedLinear,
    Learned,
    MoE,
    NoPositions,
    Recurrent,
    Rotary,
    Transformer,
)
from lm_jax.runs.model import NeuralModel
from lm_jax.serving.drawing import draw, keys_of, no_drawings
from lm_jax.serving.engine import Engine
from lm_jax.serving.jobs import Busy, Closed, Job, Late
from lm_jax.serving.programs import Programs
from lm_jax.tokenizers.characters import CharacterTokenizer
from tests.first import first_params

VOCAB, CONTEXT = 11, 40
GREEDY = Sampling(temperature=0.0)
SETTINGS = [
    GREEDY,
    Sampling(temperature=1.3),
    Sampling(temperature=0.7, top_k=3),
    Sampling(temperature=1.5, top_p=0.6),
    Sampling(temperature=1.2, min_p=0.2),
    Sampling(temperature=2.0, top_k=6, top_p=0.8, min_p=0.05),
    Sampling(temperature=1e-30),
    Sampling(temperature=3.0),
    Sampling(temperature=1.5, typical=0.4),
    Sampling(temperature=2.0, top_k=7, top_p=0.9, min_p=0.02, typical=0.7),
    Sampling(temperature=0.0, repetition_penalty=1.7),
    Sampling(temperature=0.0, repetition_penalty=0.6, no_repeat_ngram=3),
    Sampling(temperature=0.0, no_repeat_ngram=1),
    Sampling(temperature=0.0, frequency_penalty=0.9, presence_penalty=1.1),
    Sampling(
        temperature=1.2,
        typical=0.8,
        repetition_penalty=1.2,
        frequency_penalty=0.4,
        presence_penalty=-0.7,
        no_repeat_ngram=2,
    ),
]
PENALISED = SETTINGS[10:]
TOKENIZER = CharacterTokenizer("abcdefghijk", unknown=False, end=False)
PROMPTS = [
    np.random.default_rng(length).integers(0, VOCAB, length).astype(np.int32)
    for length in (1, 2, 15, 17, 18, 30, 5, 9)
]


def fitted(model):
    """A small model with opinions: large parameters make unequal logits."""
    params = first_params(model, 0, jnp.zeros((1, 4), jnp.int32))
    params = jax.tree.map(lambda p: p * 5 if p.ndim > 1 else p, params)
    return NeuralModel(None, TOKENIZER, model, params, CONTEXT, 0)


def decoder(**fields):
    fields = {"positions": Rotary()} | fields
    return Transformer(layers=2, heads=2, width=16, vocab_size=VOCAB, **fields)


@pytest.fixture(scope="module")
def small():
    return fitted(decoder())


@pytest.fixture(scope="module")
def programs(small):
    return Programs(small, 8)


def ids_of(pieces):
    return [token.id for piece in pieces for token in piece.tokens]


def together(engine, jobs):
    """The pieces of each answer, all asked for at once."""
    told = [queue.SimpleQueue() for _ in jobs]
    engine.submit(jobs, [each.put for each in told])
    found = []
    for each in told:
        pieces = [each.get(timeout=60)]
        while not isinstance(pieces[-1], Exception) and pieces[-1].reason is None:
            pieces.append(each.get(timeout=60))
        found.append(pieces)
    return found


def until(what, seconds=30.0):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def texts_so_far():
    """Texts that repeat themselves, where their new part begins, and where they end."""
    drawn = np.random.default_rng(3)
    ends = drawn.integers(1, 31, 64)
    text = drawn.integers(0, 6, (64, 30))
    return (
        jnp.asarray(text),
        jnp.asarray(drawn.integers(1, ends + 1)),
        jnp.asarray(ends),
    )


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_a_slot_draws_as_sample_does(sampling):
    logits = jax.random.normal(jax.random.key(1), (64, 50)) * 3
    logits = logits.at[::4, 7].set(logits[::4, 3])  # some are equal
    drawings = no_drawings(64)
    for slot in range(64):
        other = SETTINGS[slot % len(SETTINGS)] if slot % 2 else sampling
        drawings.set(slot, 2**32 - 1 - slot, slot % 3, other, 50)
        drawings.drawn[slot] = slot * 5
    history = History(*texts_so_far())
    keys = keys_of(drawings)
    one = jax.random.fold_in(jax.random.key(2**32 - 1 - 4), 4 % 3)
    assert (
        jax.random.key_data(jax.random.fold_in(one, 20)) == jax.random.key_data(keys[4])
    ).all()
    wanted = sample(logits, keys, sampling, history)[::2]
    np.testing.assert_array_equal(draw(logits, drawings, history)[::2], wanted)
    assert len(np.unique(wanted)) > 5


FAMILIES = {
    "rotary": decoder(),
    "scanned, learned": decoder(positions=Learned(CONTEXT), scan=True),
    "experts": decoder(feedforward=MoE(experts=4, k=2)),
    "linear": decoder(positions=NoPositions(), mixer=GatedLinear(chunk=8)),
    "recurrent": Recurrent(LSTM(), layers=2, width=16, vocab_size=VOCAB),
    "convolutional": GatedConv(layers=2, width=16, kernel=3, vocab_size=VOCAB),
}


@pytest.mark.slow
@pytest.mark.parametrize("model", FAMILIES.values(), ids=FAMILIES)
def test_together_alone_and_offline_are_equal(model):
    """Eleven answers in eight slots: greedy, drawn, penalised; short and long ones."""
    one, kinds = fitted(model), (GREEDY, SETTINGS[5], *PENALISED[-2:])
    jobs = [
        Job(prompt, 10, kinds[k % 4], seed=k, choice=k // 2 % 2)
        for k, prompt in enumerate(PROMPTS + PROMPTS[:3])
    ]
    made = Programs(one, 8)
    with Engine(made, TOKENIZER) as engine:
        alone = [list(engine.answer(job)) for job in jobs]
        found = together(engine, jobs)
    for job, first, second in zip(jobs, alone, found, strict=True):
        rows = [job.ids] * (job.choice + 1)
        given = (one.model, one.params, rows, 10, CONTEXT, job.sampling, job.seed)
        wanted = generate(*given)[job.choice].tolist()
        assert ids_of(first) == ids_of(second) == wanted
        text = "".join(piece.text for piece in second)
        assert text == TOKENIZER.decode(wanted)
    assert len({tuple(ids_of(pieces)) for pieces in found}) > 5


def test_nothing_is_compiled_after_the_first_moment(programs):
    compiled = []

    def listen(name, *_, **__):
        if "compile" in name:
            compiled.append(name)

    assert programs.compiled == 4  # a cache, a step, pieces of 16 and 40 tokens
    jax.monitoring.register_event_duration_secs_listener(listen)
    with Engine(programs, TOKENIZER) as engine:
        for prompt in PROMPTS:
            together(engine, [Job(prompt, 9, s, scored=True) for s in SETTINGS])
    jax.monitoring.clear_event_listeners()
    assert not compiled


def test_an_answer_ends_where_the_window_does(programs, small):
    with Engine(programs, TOKENIZER) as engine:
        pieces = list(engine.answer(Job(PROMPTS[5], 1000, GREEDY)))
    assert len(ids_of(pieces)) == CONTEXT - 30 + 1
    assert [piece.reason for piece in pieces] == [None] * 10 + ["length"]
    rest = generate(small.model, small.params, [PROMPTS[5]], 11, CONTEXT, GREEDY, 0)
    assert ids_of(pieces) == rest[0].tolist()


def test_an_end_and_a_stop_string_end_it(programs):
    with Engine(programs, TOKENIZER) as engine:
        ids = ids_of(engine.answer(Job(PROMPTS[0], 20, SETTINGS[1])))
        text = TOKENIZER.decode(ids)
        end = ids[7]
        ended = list(engine.answer(Job(PROMPTS[0], 20, SETTINGS[1], ends=(end,))))
        stop = text[5:8]
        stops = ("zz", stop)
        stopped = list(engine.answer(Job(PROMPTS[0], 20, SETTINGS[1], stops=stops)))
    assert ids_of(ended) == ids[: ids.index(end)] and ended[-1].reason == "stop"
    assert "".join(p.text for p in stopped) == text[: text.index(stop)]
    assert stopped[-1].reason == "stop" and ids_of(stopped) == ids[: text.index(stop)]


def test_scores_are_the_models_own(programs, small):
    prompt = PROMPTS[2]
    with Engine(programs, TOKENIZER) as engine:
        (token,) = next(engine.answer(Job(prompt, 5, SETTINGS[3], scored=True))).tokens
    logits, _ = small.model.apply({"params": small.params}, jnp.asarray(prompt[None]))
    logs = jax.nn.log_softmax(logits[0, -1])
    assert token.logprob == pytest.approx(float(logs[token.id]), abs=1e-4)
    ids, likeliest = zip(*token.likeliest, strict=True)
    assert list(ids) == np.argsort(-logs, stable=True)[:20].tolist()
    np.testing.assert_allclose(likeliest, logs[np.array(ids)], atol=1e-4)


class Slow:
    """Programs that take their time, and say what they did."""

    def __init__(self, programs, slots=1, piece=4, delay=0.01):
        self.delay = delay
        self.slots, self.piece, self._programs = slots, piece, programs
        self.vocab_size, self.window = programs.vocab_size, programs.window
        self.pieces, self.steps = [], 0

    def empty_rows(self):
        return self._programs.empty_rows()

    def read(self, slot, ids, position):
        self.pieces.append(len(ids))
        time.sleep(self.delay)
        self._programs.read(slot, ids, position)

    def step(self, rows):
        self.steps += 1
        time.sleep(self.delay)
        return self._programs.step(rows)


@pytest.mark.slow
def test_whoever_leaves_frees_the_slot(small):
    """While waiting, while the prompt is read, and while the answer is written."""
    slow = Slow(Programs(small, 1))
    with Engine(slow, TOKENIZER) as engine:
        long = Job(PROMPTS[5], 8, GREEDY)
        for moment in ("reading", "writing"):
            slow.pieces, slow.steps = [], 0
            told = queue.SimpleQueue()
            tickets = engine.submit([long], [told.put])
            until(lambda: slow.steps if moment == "writing" else slow.pieces)  # noqa: B023
            (waiting,) = engine.submit([long], [told.put])
            engine.leave([*tickets, waiting])
            until(lambda: not engine.running and not engine.waiting)
            if moment == "reading":
                assert slow.steps == 0 and len(slow.pieces) < 8
            assert slow.steps < 8
        assert engine.counts.left == 4
        answer = engine.answer(long)  # and one who stops listening
        next(answer)
        answer.close()
        until(lambda: not engine.running)
        assert len(ids_of(engine.answer(long))) == 8


def test_a_slot_that_was_left_tells_the_next_one_nothing(small):
    """A long text before, cut in the middle, changes no answer."""
    with Engine(Programs(small, 1), TOKENIZER) as engine:
        first = ids_of(engine.answer(Job(PROMPTS[0], 12, GREEDY)))
        next(engine.answer(Job(PROMPTS[5], 12, GREEDY)))
        assert ids_of(engine.answer(Job(PROMPTS[0], 12, GREEDY))) == first


def test_the_queue_has_an_end_and_so_has_time(small):
    slow = Slow(Programs(small, 1), delay=0.05)
    with Engine(slow, TOKENIZER, queue=1) as engine:
        told = [queue.SimpleQueue() for _ in range(3)]
        jobs = [Job(PROMPTS[5], 9, GREEDY)] * 2
        tickets = engine.submit(jobs, [each.put for each in told[:2]])
        until(lambda: engine.running)
        with pytest.raises(Busy, match="1 requests wait"):
            engine.submit(jobs[:1], [told[2].put])
        assert engine.counts.refused == 1
        with pytest.raises(UserError, match="3 answers .* at once, and 1 are written"):
            engine.submit([*jobs, jobs[0]], [each.put for each in told])
        engine.leave(tickets)
        until(lambda: not engine.running)
        cut = list(engine.answer(Job(PROMPTS[0], 30, GREEDY, seconds=0.8)))
        assert cut[-1].reason == "length" and 0 < len(ids_of(cut)) < 30
        with pytest.raises(Late):
            list(engine.answer(Job(PROMPTS[5], 9, GREEDY, seconds=0.02)))


def test_who_waits_is_told_that_it_ends_or_failed(small):
    told = queue.SimpleQueue()
    with Engine(Slow(Programs(small, 1)), TOKENIZER) as engine:
        engine.submit([Job(PROMPTS[5], 9)] * 2, [told.put, told.put])
    assert isinstance(told.get(timeout=5), Closed)
    assert isinstance(told.get(timeout=5), Closed)
    with pytest.raises(Closed):
        engine.submit([Job(PROMPTS[5], 9)], [told.put])
    broken = Slow(Programs(small, 1))
    broken.step = lambda rows: 1 / 0
    with Engine(broken, TOKENIZER) as engine:
        with pytest.raises(ZeroDivisionError):
            list(engine.answer(Job(PROMPTS[0], 9)))
        assert isinstance(engine.failed, ZeroDivisionError)


def test_logits_that_are_no_numbers_end_an_answer_and_free_its_slot(small):
    params = small.params | {"embedding": small.params["embedding"] * np.nan}
    with Engine(Programs(replace(small, params=params), 1), TOKENIZER) as engine:
        for _ in range(2):
            with pytest.raises(NotFinite, match="logits are not finite"):
                list(engine.answer(Job(PROMPTS[1], 9)))
        until(lambda: not engine.running)
        assert engine.failed is None


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (Job(PROMPTS[0][:0], 1), "prompt is empty"),
        (Job(np.zeros(41, np.int32), 1), "has 41 tokens, and the model reads 40"),
        (Job(np.array([11]), 1), "token 11, and the model knows 0 to 10"),
        (Job(PROMPTS[0], 0), "answer of 0 tokens"),
        (Job(PROMPTS[0], 1, Sampling(temperature=-1.0)), "temperature=-1"),
        (Job(PROMPTS[0], 1, seed=-1), "seed=-1"),
    ],
)
def test_what_cannot_be_answered_is_refused(programs, job, message):
    with pytest.raises(UserError, match=message):
        Engine(programs, TOKENIZER).check(job)
