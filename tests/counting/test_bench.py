"""The benchmark's figures are of what it says it measures."""

import json
import math

import pytest

from lm_jax.bench.kenlm import as_lines, measure_kenlm
from lm_jax.commands.bench_ngram import child, main
from lm_jax.errors import UserError
from lm_jax.tokenizers import Words


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


FAKES = {
    "lmplz": 'cp "$9" text; echo "$@" > given; cat "$9" > "${11}"',
    "build_binary": 'cp "$2" "$3"',
    "query": 'cat >> asked; echo "Perplexity including OOVs:\t12.5"; sleep 0.01',
}


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Programs that say what they were given."""
    monkeypatch.chdir(tmp_path)
    for name, does in FAKES.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    return tmp_path


def test_kenlm_is_given_the_same_text_and_options(programs):
    tokenizer = Words().train(["a <unk> b\n" * 3 + "<eos>\n"])
    ids = tokenizer.encode("a <unk>\n\nb <eos> a\nb")
    train, text = (as_lines(ids, tokenizer, known) for known in (True, False))
    assert train == "a (unk)\n\nb <eos> a\nb\n"
    assert text == train.replace("(unk)", "<unk>")
    (programs / "files").mkdir()
    found = measure_kenlm(programs, train, text, 4, programs / "files")
    assert found["perplexity"] == 12.5
    assert found["fit"] > 0 and found["score"] > 0 and found["peak"] > 0
    assert (programs / "text").read_text() == train
    assert (programs / "asked").read_text() == text
    given = (programs / "given").read_text()
    assert "-o 4 " in given and "--prune" not in given


def test_programs_that_are_missing_or_fail_are_told(programs):
    (programs / "lmplz").write_text("#!/bin/sh\necho no room >&2; exit 3\n")
    with pytest.raises(UserError, match="no room"):
        measure_kenlm(programs, "a\n", "a\n", 2, programs)
    (programs / "query").unlink()
    with pytest.raises(UserError, match="there is no query"):
        main([f"--kenlm={programs}"])


@pytest.mark.parametrize("option", ["--order=0", "--piece=3", "--scored=1"])
def test_mistakes_are_told(option):
    with pytest.raises(UserError, match="--scored 2 or more"):
        main([option])
