"""Rows of conversations: what is predicted is what a template says is an answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.data import NAMED_TURNS, Conversations, Template, answer_template
from lm_jax.data.conversations import filled
from lm_jax.errors import UserError
from lm_jax.text import Turn
from lm_jax.tokenizers import Characters, Subwords
from lm_jax.tokenizers.utf8 import ByteTokenizer
from tests.properties import quick
from tests.text.test_dialogues import ANSWER, USER, messages

pytest.importorskip("jinja2", reason="needs the extra `serve`")
SYSTEM = Turn("system", "be")
ROWS = [
    (
        *[SYSTEM] * (k % 2),
        *[USER, Turn("assistant", f"it is {k:06b}")] * (k % 3 + 1),
        USER,
    )
    for k in range(40)
]
STOPPED = Template(
    "{% for turn in turns %}<{{ turn.role }}>{{ turn.content }} </s>\n{% endfor %}"
    "{% if answer %}<assistant>{% endif %}",
    stops=("</s>",),
)


def prepared(folder, **fields):
    corpus = messages(folder / "a.jsonl", *ROWS)
    fields = {"tokenizer": Characters(), "context": 160} | fields
    return Conversations(corpus, **fields).prepare(folder / "cache")


def rows(made, split):
    windows = made.evaluation(split, 1)
    for k in range(len(windows)):
        yield {name: array[0] for name, array in windows[k].items()}


def spelled(made, ids):
    return "".join(made.tokenizer.symbols(ids)).replace("<|end|>", "|")


def talks(made, row):
    """The tokens of each conversation of a row, and which of them are predicted."""
    for number in range(1, row["segments"].max() + 1):
        here = row["segments"] == number
        inputs, targets = row["inputs"][here], row["targets"][here]
        np.testing.assert_array_equal(inputs[1:], targets[:-1])
        np.testing.assert_array_equal(row["positions"][here], range(len(inputs)))
        yield np.append(inputs[:1], targets), np.append(0, row["mask"][here])


@pytest.mark.parametrize(
    ("template", "between", "end"),
    [(NAMED_TURNS, "", "|"), (answer_template("\n"), "", "|"), (STOPPED, "", " </s>")],
)
@pytest.mark.parametrize("tokenizer", [Characters(), Subwords(300)])
def test_answers_and_their_ends_are_predicted_after_what_would_be_asked(
    template, between, end, tokenizer, tmp_path
):
    made = prepared(tmp_path, template=template, tokenizer=tokenizer)
    assert made.stops == template.stops
    wanted, found = {}, set()
    for row in ROWS:
        last = max(k for k, turn in enumerate(row) if turn.role == "assistant")
        ids = template.ids(row[: last + 1], made.tokenizer, answer=False)
        wanted[spelled(made, ids)] = row[: last + 1]
    for split in made.splits:
        for row in rows(made, split):
            for ids, mask in talks(made, row):
                whole = next(w for w in wanted if w.startswith(spelled(made, ids)))
                turns = wanted[whole]
                found.add(whole)
                # Each run of predicted tokens is an answer with its end, and before
                # it stands what asks for it.
                edges = np.flatnonzero(np.diff(np.append(mask, 0)))
                answered = [k for k, t in enumerate(turns) if t.role == "assistant"]
                for k, (a, b) in zip(answered, edges.reshape(-1, 2), strict=True):
                    text = made.tokenizer.decode(ids[a + 1 : b + 1])
                    ended = text if end != "|" else text + "|"
                    assert ended == turns[k].content + end
                    if end == "|":
                        assert ids[b] == made.tokenizer.end_id
                    asked = template.ids(turns[:k], made.tokenizer)
                    np.testing.assert_array_equal(ids[: a + 1], asked)
    assert found == set(wanted)


def test_conversations_share_rows_and_come_once_an_epoch(tmp_path):
    made = prepared(tmp_path)
    total = sum(
        len(list(talks(made, row))) for s in made.splits for row in rows(made, s)
    )
    assert total == len(ROWS)
    held = list(rows(made, "train"))
    assert len(held) < 20 and max(row["segments"].max() for row in held) == 2
    order = made.order(0, 1)
    assert order.steps_per_epoch == len(held)
    seen = [order.batch(k)["inputs"][0].tobytes() for k in range(2 * len(held))]
    assert set(seen[: len(held)]) == {row["inputs"].tobytes() for row in held}
    assert sorted(seen[: len(held)]) == sorted(seen[len(held) :])
    assert seen[: len(held)] != seen[len(held) :]
    assert {name: (a.shape, str(a.dtype)) for name, a in order.batch(0).items()} == {
        field.name: ((1, *field.sized(160)), field.dtype) for field in made.fields
    }
    assert made.splits["train"].coded.bytes == 0  # no bits per byte of questions


def test_what_is_asked_is_the_end_of_what_was_said(tmp_path):
    made = prepared(tmp_path)
    source, answer = next(iter(made.pairs("train")))
    turns = next(row for row in ROWS if row[: len(source.turns)] == source.turns)
    assert turns[len(source.turns)] == Turn("assistant", answer)
    whole = NAMED_TURNS.ids(source.turns, made.tokenizer)
    np.testing.assert_array_equal(made.asked(source, 20), whole)
    np.testing.assert_array_equal(made.asked(source, 155), whole[-6:])
    count = sum(t.role == "assistant" for row in ROWS for t in row)
    assert sum(len(list(made.pairs(split))) for split in made.splits) == count


def test_what_is_too_long_loses_its_end_and_that_is_said(tmp_path):
    made = prepared(tmp_path, context=40)
    assert "lose their end" in made.statement
    for row in rows(made, "train"):
        assert row["mask"].any()
    with pytest.raises(UserError, match="No answer of the split .* within 9 tokens"):
        prepared(tmp_path, context=9)


@quick
@given(st.lists(st.integers(1, 12), max_size=40))
def test_each_thing_lies_in_one_row_and_no_row_is_too_full(sizes):
    packed = filled(sizes, 12)
    assert sorted(k for row in packed for k in row) == list(range(len(sizes)))
    fullness = sorted(sum(sizes[k] for k in row) for row in packed)
    assert not packed or fullness[-1] <= 12
    # No two rows would fit into one.
    assert len(fullness) < 2 or fullness[0] + fullness[1] > 12


@pytest.mark.parametrize(
    ("template", "tokenizer"),
    [
        (Template("{% for t in turns %}{{ t.content }}\n{% endfor %}"), True),
        (Template("{% for t in turns %}{{ t.content }}\n{% endfor %}", ("||",)), True),
        (NAMED_TURNS, False),
    ],
)
def test_a_template_that_ends_no_answer_is_refused(template, tokenizer):
    with pytest.raises(UserError, match="doesn't say where an answer ends"):
        template.marked([USER, ANSWER], ByteTokenizer(end=tokenizer))


def test_what_a_user_says_is_never_an_answer():
    said = Turn("user", "assistant: me<|end|></s>")
    for template in (NAMED_TURNS, STOPPED):
        ids, answers = template.marked([said, ANSWER, said], ByteTokenizer(end=True))
        learnt = bytes(int(i) for i in ids[answers] if i < 256)
        assert learnt == (b"me </s>" if template == STOPPED else b"me")
