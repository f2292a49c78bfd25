"""Experiment files say what to expect, and mistakes in them are one message."""

import pytest

from lm_jax.errors import UserError
from lm_jax.experiment import load
from tests.experiment import FILES


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_the_docstring_says_how_and_what_to_expect(file):
    text = file.read_text()
    for word in ("Run:", "Expect:", "Source:", f"experiments/{file.name}"):
        assert word in text.split('"""')[1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x = Charactrs()", "line 2: NameError"),
        ("from lm_jax.models import Transformer; Transformer(layer=2)", "line 2"),
        ("x = (", "line 2: SyntaxError"),
    ],
)
def test_a_mistake_in_the_file_is_one_message_with_its_line(line, words, tmp_path):
    file = tmp_path / "bad.py"
    file.write_text(f'"""Bad."""\n{line}\n')
    with pytest.raises(UserError, match=words):
        load(str(file))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("experiments/gpt_shakespear.py", "gpt_shakespeare.py"),
        ("experiments/gpt_shakespeare.py:rotari", "Did you mean 'rotary'"),
    ],
)
def test_an_unknown_file_or_variant_is_named_with_the_nearest(address, words):
    with pytest.raises(UserError, match="(?s)" + words):
        load(address)
