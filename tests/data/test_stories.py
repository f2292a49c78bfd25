"""Each question is asked once, in a row that has what came before it in its story."""

import numpy as np
import pytest

from lm_jax.data import Stories
from lm_jax.data.stories import packed
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.tokenizers import Bytes


def story(name, lines, asked):
    """Lines of one story; those that are asked have themselves for an answer."""
    rows = (
        f"{k} Who {name} {k}?\t{name}-{k}\t1" if k in asked else f"{k} It {name} {k}."
        for k in range(1, lines + 1)
    )
    return "\n".join(rows) + "\n"


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "all"
    found.mkdir()
    texts = [story(f"s{n}", n % 7 + 2, {n % 7 + 2, 2}) for n in range(30)]
    long = story("long", 40, {3, 9, 10, 25, 40})
    (found / "qa1_x_train.txt").write_text("".join(texts))
    (found / "qa2_x_train.txt").write_text(long)
    (found / "qa2_x_test.txt").write_text(long)
    return found


@pytest.mark.parametrize("sentences", [8, 10, 64])
def test_each_question_is_asked_once_with_its_story_before_it(
    folder, tmp_path, sentences
):
    data = Stories(Corpus(str(folder), validation=0.0), sentences=sentences, words=5)
    made = data.prepare(tmp_path / "c")
    words = made.tokenizer.symbols
    windows = made.evaluation("train", 3)
    asked, kinds = [], []
    for k in range(len(windows)):
        batch, numbers = windows[k], windows.numbers(k)
        for row, number in enumerate(numbers):
            arrays = {name: array[row] for name, array in batch.items()}
            kinds += made.kinds["train"][number]
            for place in np.flatnonzero(arrays["mask"]):
                answer = words([arrays["targets"][place]])[0]
                name, number_of = answer.split("-")
                asked.append(answer)
                mine = arrays["segments"] == arrays["segments"][place]
                before = np.flatnonzero(mine[: place + 1])
                read = [words(s[s >= 0]) for s in arrays["sentences"][before]]
                # What stands before it is its story's, without a gap or an answer.
                first = int(number_of) - len(before) + 1
                expected = range(first, int(number_of) + 1)
                assert [int(r[2]) for r in read] == list(expected)
                assert all(r[1] == name and len(r) == 4 for r in read)
                assert first == 1 or len(before) >= sentences // 2
                np.testing.assert_array_equal(
                    arrays["positions"][before], np.arange(len(before))
                )
            empty = arrays["segments"] == 0
            assert (arrays["sentences"][empty] == -1).all()
            assert not arrays["mask"][empty].any()
    sizes = [n % 7 + 2 for n in range(30)]
    assert len(asked) == len(set(asked)) == sum(1 + (n > 2) for n in sizes) + 5
    assert [k == "qa2" for k in kinds] == [a.startswith("long") for a in asked]
    order = made.order(0, 4)
    assert {field.name for field in made.fields} == set(order.batch(0))
    assert order.batch(0)["sentences"].shape == (4, sentences, 5)
    told = f"1 stories of train are cut to {sentences} sentences."
    assert (told in made.statement) == (sentences < 40)
    assert "last tokens" not in made.statement


def test_what_is_too_long_is_counted(folder, tmp_path):
    corpus = Corpus(str(folder), validation=0.0)
    made = Stories(corpus, sentences=39, words=3).prepare(tmp_path / "c")
    assert "1 stories of test are cut to 39 sentences." in made.statement
    assert "40 sentences of test are cut to their last tokens." in made.statement


@pytest.mark.parametrize("seed", range(4))
def test_rows_are_filled_and_nothing_is_left_out(seed):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 17, 200).tolist()
    rows = packed(sizes, 16)
    assert sorted(thing for row in rows for thing in row) == list(range(200))
    filled = [sum(sizes[thing] for thing in row) for row in rows]
    assert max(filled) <= 16
    # No two rows would fit into one.
    assert sum(sorted(filled)[:2]) > 16
    assert len(rows) <= 1.1 * sum(sizes) / 16 + 1


def test_an_answer_of_several_tokens_is_refused(folder, tmp_path):
    data = Stories(Corpus(str(folder), validation=0.0), Bytes())
    with pytest.raises(UserError, match=r"answer 's0-2' .* of qa1 has 4 tokens"):
        data.prepare(tmp_path / "c")
