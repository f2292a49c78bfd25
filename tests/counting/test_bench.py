"""The benchmark's figures are of what it says it measures."""

import json
import math

import pytest

from lm_jax.commands.bench_ngram import child, main
from lm_jax.errors import UserError


def test_the_figures(tmp_path, capsys):
    pytest.importorskip("nltk.lm", reason="NLTK is not installed")
    for library in ("nothing", "lm_jax", "NLTK"):
        child(library, "tinyshakespeare", str(tmp_path), 3, 2000, 20)
        found = json.loads(capsys.readouterr().out)
        assert found["fitted"] == 2000
        assert found["peak"] > 0
        if library != "nothing":
            assert found["scored"] == 19
            assert found["fit"] > 0 and found["score"] > 0
        assert math.isnan(found["perplexity"]) == (library != "lm_jax")


@pytest.mark.parametrize("option", ["--order=0", "--piece=3", "--scored=1"])
def test_mistakes_are_told(option):
    with pytest.raises(UserError, match="--scored 2 or more"):
        main([option])
