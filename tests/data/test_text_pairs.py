"""Sources and targets: both ends of each stand where a model looks for them."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest

from lm_jax.data import TextPairs
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words

ENGLISH = [f"a dog sees {'a ' * (k % 5)}cat number {k}" for k in range(30)]
GERMAN = [f"ein Hund sieht {k}" for k in range(30)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Multi30k's files of three splits, one of them compressed."""
    root = tmp_path / "data" / "multi30k"
    root.mkdir(parents=True)
    for number, split in enumerate(("train", "val", "test_2016_flickr")):
        part = slice(10 * number, 10 * number + 10)
        (root / f"{split}.en").write_text("\n".join(ENGLISH[part]) + "\n")
        lines = "\n".join(GERMAN[part]) + "\n"
        (root / f"{split}.de.gz").write_bytes(gzip.compress(lines.encode()))
    monkeypatch.setenv("LM_JAX_DATA", str(tmp_path / "data"))
    return root


def prepared(tmp_path, **fields):
    data = TextPairs(Corpus("multi30k"), Words(), **{"lengths": (8, 16)} | fields)
    return data.prepare(tmp_path / "cache")


def rows(made, order):
    for step in range(int(order.steps_per_epoch)):
        batch = order.batch(step)
        for k in range(len(batch["source"])):
            row = {name: array[k] for name, array in batch.items()}
            if row["mask"].any():
                yield row


@pytest.mark.parametrize("turned", [False, True])
def test_each_source_stands_beside_its_target(folder, tmp_path, turned):
    made = prepared(tmp_path, turned=turned)
    end, frame = made.tokenizer.end_id, made.frame
    assert (frame.start, frame.end, frame.after) == ((end,), end, (end,))
    pairs = dict(zip(ENGLISH[:10], GERMAN[:10], strict=True))
    if turned:
        pairs = {german: english for english, german in pairs.items()}
    seen = {}
    for row in rows(made, made.order(0, 2)):
        source = row["source"][row["source_mask"]]
        target = row["targets"][row["mask"] > 0]
        # What is read ends, and what is written begins after an end and ends.
        assert source[-1] == target[-1] == row["decoder_inputs"][0] == end
        before = row["decoder_inputs"][1 : len(target)]
        np.testing.assert_array_equal(before, target[:-1])
        assert not row["source"][~row["source_mask"]].any()
        texts = [made.tokenizer.decode(ids[:-1]) for ids in (source, target)]
        seen[texts[0]] = texts[1]
    assert seen == {" ".join(k.split()): " ".join(v.split()) for k, v in pairs.items()}
    found = list(made.pairs("validation"))
    wanted = zip(ENGLISH[10:20], GERMAN[10:20], strict=True)
    assert found == [pair[:: -1 if turned else 1] for pair in wanted]


def test_what_is_too_long_keeps_its_beginning_and_its_end(folder, tmp_path):
    made = prepared(tmp_path, lengths=(4,))
    assert "cut to 4 tokens: 10 and 10 of train" in made.statement
    for row in rows(made, made.order(0, 2)):
        assert row["source"][-1] == row["targets"][-1] == made.tokenizer.end_id
        assert made.tokenizer.decode(row["source"][:3]) == "a dog sees"


def test_an_epoch_is_counted_by_the_tokens_that_are_written(folder, tmp_path):
    made = prepared(tmp_path)
    total = sum(int(row["mask"].sum()) for row in rows(made, made.order(0, 1)))
    assert total == made.buckets.tokens == 10 * 5


def test_targets_may_have_a_length_of_their_own(folder, tmp_path):
    whole = prepared(tmp_path)
    made = prepared(tmp_path, target_length=5)
    assert "cut" not in made.statement  # 5 tokens, with their end
    sizes = {field.name: field.sized(16)[0] for field in made.fields}
    own = {"decoder_inputs": 5, "targets": 5, "mask": 5}
    assert sizes == {"source": 16, "source_mask": 16} | own
    both = [list(rows(each, each.order(0, 1))) for each in (whole, made)]
    for one, other in zip(*both, strict=True):
        for name, array in other.items():
            length = own.get(name, len(one["source"]))
            np.testing.assert_array_equal(array, one[name][:length])
            assert not one[name][length:].any()
    short = prepared(tmp_path, target_length=3)
    assert "cut to 16 and 3 tokens: 0 and 10 of train" in short.statement
    for row in rows(short, short.order(0, 2)):
        assert row["targets"][-1] == short.tokenizer.end_id
        assert short.tokenizer.decode(row["targets"][:2]) == "ein Hund"


def test_lines_that_lack_their_other_are_named(folder, tmp_path):
    with (folder / "val.en").open("a") as file:
        file.write("one more\n")
    with pytest.raises(UserError, match=r"val.de.gz ends before line 11, which"):
        prepared(tmp_path)
    (folder / "val.en").write_text("\n".join([*ENGLISH[10:12], "", *ENGLISH[13:20]]))
    with pytest.raises(UserError, match=r"val.en, line 3 is empty"):
        prepared(tmp_path)
    (folder / "val.de.gz").unlink()
    with pytest.raises(UserError, match="val"):
        prepared(tmp_path)


def test_a_table_and_tabs_hold_pairs_too(tmp_path, monkeypatch):
    lines = [f"word {k // 2}.\t词{k}。" for k in range(160)]
    root = tmp_path / "data" / "tatoeba"
    root.mkdir(parents=True)
    (root / "cmn-eng.txt").write_text("\n".join([*lines, "no tab here"]) + "\n")
    monkeypatch.setenv("LM_JAX_DATA", str(tmp_path / "data"))
    corpus = Corpus("tatoeba", validation=0.3, test=0.2)
    made = TextPairs(corpus, Words(), lengths=(8,)).prepare(tmp_path / "cache")
    splits = [list(made.pairs(s)) for s in ("train", "validation", "test")]
    assert sorted(sum(splits, [])) == sorted(tuple(line.split("\t")) for line in lines)
    sources = [{source for source, _ in pairs} for pairs in splits]
    assert sources[1] and sources[2]
    assert not (sources[0] & sources[1] | sources[0] & sources[2])
    table = tmp_path / "pairs.tsv"
    table.write_text("text\tsaid\n" + "\n".join(lines) + "\n")
    data = TextPairs(Corpus(str(table)), Words(), "said", lengths=(8,))
    assert {t for _, t in data.prepare(tmp_path / "cache").pairs("train")} <= {
        line.split("\t")[1] for line in lines
    }
    with pytest.raises(UserError, match="has no pairs"):
        TextPairs(Corpus("names"), Words()).prepare(tmp_path / "cache")


def test_no_source_that_is_held_out_is_learnt_from(tmp_path):
    """Pairs are split by their first texts, and the second may stand in several."""
    table = tmp_path / "pairs.tsv"
    lines = [f"word {k}.\t词{k // 2}。" for k in range(160)]
    table.write_text("text\tsaid\n" + "\n".join(lines) + "\n")
    corpus = Corpus(str(table), validation=0.3, test=0.2)
    data = TextPairs(corpus, Words(), "said", lengths=(8,))
    plain, turned = (
        replace(data, turned=which).prepare(tmp_path / "cache")
        for which in (False, True)
    )
    held = {}
    for split in ("validation", "test"):
        pairs = list(turned.pairs(split))
        assert [pair[::-1] for pair in pairs] == list(plain.pairs(split))
        held |= dict(pairs)
    everything = [pair[::-1] for pair in plain.pairs("train")]
    learnt = [pair for pair in everything if pair[0] not in held]
    assert list(turned.pairs("train")) == learnt and len(learnt) < len(everything)
    left = len(everything) - len(learnt)
    said = " ".join(turned.statement.split())
    assert f"{left} rows of train, whose source is held out, are left out" in said
    assert "left out" not in plain.statement


@pytest.mark.parametrize("turned", [False, True])
def test_sources_that_a_model_wrote_stand_beside_their_targets(
    folder, tmp_path, turned
):
    lines = [
        {"prompt": "ein Hund allein", "text": "a dog alone", "score": -1.0},
        {"prompt": "noch einer", "text": " "},
        {"prompt": "eine Katze", "text": "a cat"},
    ]
    path = tmp_path / "back.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    plain = prepared(tmp_path, turned=turned)
    made = prepared(tmp_path, turned=turned, synthetic=str(path))
    assert made.digest != plain.digest
    told = " ".join(made.statement.split())
    assert "2 pairs of train have a source that was written by a model" in told
    assert "(1 more had none)" in told
    pairs = list(made.pairs("train"))
    assert pairs[:-2] == list(plain.pairs("train"))
    assert pairs[-2:] == [("a dog alone", "ein Hund allein"), ("a cat", "eine Katze")]
    for split in ("validation", "test"):
        assert list(made.pairs(split)) == list(plain.pairs(split))
    learnt = {
        made.tokenizer.decode(row["targets"]) for row in rows(made, made.order(0, 2))
    }
    assert any("ein Hund allein" in text for text in learnt)


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85"])
def test_what_generate_wrote_is_read_line_by_line(folder, tmp_path, mark):
    """JSON leaves these as they are, and they end no line of a file."""
    path, text = tmp_path / "back.jsonl", f"a dog{mark}alone"
    line = json.dumps({"prompt": "ein Hund", "text": text}, ensure_ascii=False)
    path.write_text(f"{line}\n", encoding="utf-8")
    made = prepared(tmp_path, synthetic=str(path))
    assert list(made.pairs("train"))[-1] == (text, "ein Hund")


def test_a_limit_keeps_pairs_together_and_is_nested(folder, tmp_path):
    whole = list(prepared(tmp_path).pairs("train"))
    few, more = (
        list(prepared(tmp_path, limit=limit).pairs("train")) for limit in (3, 7)
    )
    assert len(few) == 3 and len(more) == 7
    assert set(few) < set(more) < set(whole)
    made = prepared(tmp_path, limit=3)
    assert len(list(made.pairs("validation"))) == 10
    assert "3 of the 10 rows of train are drawn by chance" in made.statement
    assert made.buckets.tokens == 3 * 5
    with pytest.raises(UserError, match="limit=11: the training split has 10 rows"):
        prepared(tmp_path, limit=11)
    with pytest.raises(UserError, match="limit"):
        prepared(tmp_path, limit=0)


@pytest.mark.parametrize(
    "line", ["no json", "[1]", '{"prompt": "a"}', '{"prompt": "a", "text": 3}']
)
def test_a_file_that_generate_did_not_write_is_refused(folder, tmp_path, line):
    path = tmp_path / "back.jsonl"
    path.write_text('{"prompt": "a", "text": "b"}\n' + line + "\n")
    with pytest.raises(UserError, match=r"back.jsonl, line 2 has no \"prompt\""):
        prepared(tmp_path, synthetic=str(path))
    path.write_text('{"prompt": "a", "text": ""}\n')
    with pytest.raises(UserError, match="has no pair of texts"):
        prepared(tmp_path, synthetic=str(path))
    with pytest.raises(UserError, match="can't be read"):
        prepared(tmp_path, synthetic=str(tmp_path / "none"))
