"""Arrays of ids that other programs made: read as they were written, or refused."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.data import Mixture, PackedDocuments, TokenStream
from lm_jax.errors import UserError
from lm_jax.objectives.scores import likelihood
from lm_jax.text import Corpus, arrays, find
from lm_jax.tokenizers import Characters, Ids, Kept, load_tokenizer, save_tokenizer
from tests.properties import quick

END = 9
IDS = Ids(size=10, end=END)


def some_ids(tokens, seed=0):
    return np.random.default_rng(seed).integers(0, 10, tokens)


def write_nanogpt(path, ids, dtype="<u2"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(ids.astype(dtype).tobytes())


def write_megatron(path, ids, code=4, dtype="<i4", lengths=None):
    """As MMapIndexedDatasetBuilder does: three sequences, a document each."""
    write_nanogpt(path, ids, dtype)
    lengths = np.array(lengths or [3, 4, len(ids) - 7], "<i4")
    starts = (np.cumsum(lengths) - lengths) * np.dtype(dtype).itemsize
    head = struct.pack("<9sQBQQ", b"MMIDIDX\x00\x00", 1, code, len(lengths), 4)
    body = [lengths, starts.astype("<i8"), np.arange(4, dtype="<i8")]
    path.with_suffix(".idx").write_bytes(head + b"".join(a.tobytes() for a in body))


def prepared(path, tmp_path, tokenizer=IDS, context=4, **corpus):
    data = TokenStream(Corpus(str(path), **corpus), tokenizer, context)
    return data.prepare(tmp_path / "cache")


def test_nanogpts_arrays_are_used_where_they_lie(tmp_path):
    train, validation = some_ids(100), some_ids(40, 1)
    write_nanogpt(tmp_path / "data" / "train.bin", train)
    write_nanogpt(tmp_path / "data" / "val.bin", validation)
    (tmp_path / "data" / "meta.pkl").write_bytes(b"no business of ours")
    (tmp_path / "data" / "input.txt").write_text("nor this")
    data = prepared(tmp_path / "data", tmp_path)
    assert list(data.splits) == ["train", "validation"]
    for split, ids in (("train", train), ("validation", validation)):
        np.testing.assert_array_equal(data.splits[split].ids, ids)
        assert isinstance(data.splits[split].ids, np.memmap)
        ends = [*np.flatnonzero(ids == END) + 1]
        ends += [len(ids)] if ids[-1] != END else []
        assert data.splits[split].documents.tolist() == [0, *ends]
    assert not list((tmp_path / "cache").rglob("*.ids"))
    assert "train: 100 tokens in" in data.statement
    assert "Left out: input.txt, meta.pkl." in data.statement


@pytest.mark.parametrize(("code", "dtype"), [(1, "<u1"), (4, "<i4"), (8, "<u2")])
def test_megatrons_index_says_the_type(tmp_path, code, dtype):
    ids = some_ids(60)
    write_megatron(tmp_path / "a_text_document.bin", ids, code, dtype)
    data = prepared(tmp_path / "a_text_document.bin", tmp_path)
    whole = [data.splits["train"].ids, data.splits["validation"].ids]
    np.testing.assert_array_equal(np.concatenate(whole), ids)
    assert len(whole[1]) == 6


def test_llm_cs_header_is_no_token(tmp_path):
    ids, header = some_ids(60), np.zeros(256, "<i4")
    header[:3] = 20240520, 1, 60
    path = tmp_path / "train.bin"
    path.write_bytes(header.tobytes() + ids.astype("<u2").tobytes())
    data = prepared(path, tmp_path, validation=0.0)
    assert "Nothing of it is held out." in data.statement
    assert "Split" not in data.statement and "train:" not in data.statement
    np.testing.assert_array_equal(data.splits["train"].ids, ids)


def test_shards_are_joined_in_their_order(tmp_path):
    shards = [some_ids(20, seed) for seed in range(3)]
    for number, ids in enumerate(shards):
        write_nanogpt(tmp_path / "d" / f"x_train_{number}.bin", ids)
    write_nanogpt(tmp_path / "d" / "x_val_0.bin", some_ids(20, 7))
    data = prepared(tmp_path / "d", tmp_path)
    np.testing.assert_array_equal(data.splits["train"].ids, np.concatenate(shards))
    np.testing.assert_array_equal(data.splits["validation"].ids, some_ids(20, 7))


def test_ids_give_the_batches_of_the_text_they_were_made_of(tmp_path):
    text = TokenStream(Corpus("tinyshakespeare"), Characters(), 64)
    text = text.prepare(tmp_path / "cache")
    for split, name in (("train", "train"), ("validation", "val")):
        write_nanogpt(tmp_path / f"d/{name}.bin", np.array(text.splits[split].ids))
    size = text.vocab_size
    for tokenizer in (Ids(size, None), Kept(str(tmp_path / "t.json"))):
        save_tokenizer(text.tokenizer, tmp_path / "t.json")
        data = prepared(tmp_path / "d", tmp_path, tokenizer, 64)
        for step in (0, 5, 2000):
            ours, theirs = (d.order(3, 12).batch(step) for d in (data, text))
            assert ours.keys() == theirs.keys()
            for field in ours:
                np.testing.assert_array_equal(ours[field], theirs[field])
        windows = [d.evaluation("validation", 8) for d in (data, text)]
        assert len(windows[0]) == len(windows[1])
    assert data.tokenizer.decode(data.splits["train"].ids[:13]) == "First Citizen"


def test_arrays_are_mixed_with_others_and_with_text(tmp_path):
    write_nanogpt(tmp_path / "a.bin", some_ids(60))
    (tmp_path / "b.txt").write_text(" ".join(map(str, some_ids(50, 1))))
    parts = tuple(
        TokenStream(Corpus(str(tmp_path / name), validation=0.2), IDS, 4)
        for name in ("a.bin", "b.txt")
    )
    data = Mixture(parts, (1.0, 1.0)).prepare(tmp_path / "cache")
    train = data.splits["train"]
    np.testing.assert_array_equal(train.ids[:48], some_ids(60)[:48])
    np.testing.assert_array_equal(train.ids[48:80], some_ids(50, 1)[:32])
    assert train.parts[:2] == (0, 48)
    # The bytes of ids aren't known, so those of all are not: no bits per byte.
    text = parts[1].prepare(tmp_path / "cache").splits["train"]
    assert text.coded.bytes > 0 == train.coded.bytes
    assert "bits_per_byte" not in likelihood(99.0, 9, train.coded)


def test_documents_are_packed(tmp_path):
    ids = np.tile([1, 2, 3, END, 4, 5, END], 9)
    write_nanogpt(tmp_path / "train.bin", ids)
    corpus = Corpus(str(tmp_path / "train.bin"))
    data = PackedDocuments(corpus, IDS, context=7).prepare(tmp_path / "cache")
    row = next(iter(data.evaluation("validation", 1)))
    assert row["inputs"][0].tolist() == [1, 2, 3, END, 4, 5, 0]
    assert row["targets"][0].tolist() == [2, 3, END, 4, 5, END, 0]
    assert row["segments"][0].tolist() == [1, 1, 1, 2, 2, 2, 0]
    assert len(data.splits["train"].documents) == 17
    with pytest.raises(UserError, match="documents apart by the token that ends each"):
        PackedDocuments(corpus, Ids(10, None)).prepare(tmp_path / "cache")


def test_what_is_no_array_is_refused(tmp_path):
    path = tmp_path / "a.bin"
    write_nanogpt(path, np.array([1, 2, 3, 12, 4] * 9))
    with pytest.raises(
        UserError, match=r"train split, number 3 is 12, and ids .* 0 to"
    ):
        prepared(path, tmp_path)
    with pytest.raises(UserError, match="holds ids, and no text.*Ids"):
        prepared(path, tmp_path, Characters())
    path.write_bytes(b"\x01\x02\x03")
    with pytest.raises(UserError, match="cut or no array of ids: it has 3 bytes"):
        prepared(path, tmp_path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="is empty"):
        prepared(path, tmp_path)
    write_megatron(path, some_ids(60))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match="it has 236 bytes, and 60 ids of 4 bytes"):
        prepared(path, tmp_path)
    write_megatron(path, some_ids(60), code=7)
    with pytest.raises(UserError, match="type of code 7: no integers"):
        prepared(path, tmp_path)
    path.with_suffix(".idx").write_bytes(b"index")
    with pytest.raises(UserError, match="no index of Megatron's"):
        prepared(path, tmp_path)
    write_megatron(path, -some_ids(60))
    with pytest.raises(UserError, match="number 0 is 4,294,967,2"):
        prepared(path, tmp_path)
    with pytest.raises(UserError, match=r"Ids\(size=5, end=9\)"):
        Ids(size=5, end=9)
    with pytest.raises(UserError, match=r"no file or folder .*none\.bin"):
        find(Corpus(str(tmp_path / "none.bin")), tmp_path)


def test_ids_of_four_bytes_that_are_read_as_two_are_refused(tmp_path):
    """Each would be two tokens, of which every other one is 0 or 1."""
    path, ids = tmp_path / "a.bin", np.random.default_rng(0).integers(0, 128_000, 200)
    write_nanogpt(path, ids, "<u4")
    large = Ids(128_000, None)
    with pytest.raises(UserError, match=r"of 4 bytes: .*--data.corpus.dtype uint32"):
        prepared(path, tmp_path, large)
    assert prepared(path, tmp_path, large, dtype="uint32").splits["train"].ids.size
    write_nanogpt(path, ids % 9)  # of a small vocabulary all are small
    assert prepared(path, tmp_path).splits["train"].ids.size


@quick
@given(st.lists(st.integers(0, 9), max_size=20))
def test_numbers_come_back(ids):
    tokenizer = IDS.train([])
    text = tokenizer.decode(ids)
    assert tokenizer.encode(text).tolist() == ids
    assert tokenizer.symbols(ids) == text.split()


@pytest.mark.parametrize("text", ["10", "1 -2", "ROMEO:", "1.5", "٣"])
def test_what_is_no_id_is_named(text):
    with pytest.raises(UserError, match="is no id: this tokenizer knows ids alone"):
        IDS.train([]).encode(text)


def test_a_tokenizer_of_ids_is_kept(tmp_path):
    tokenizer = Ids(10, None).train([])
    save_tokenizer(tokenizer, tmp_path / "t.json")
    assert load_tokenizer(tmp_path / "t.json") == tokenizer


def test_an_array_that_is_still_being_written_is_refused(tmp_path, monkeypatch):
    write_nanogpt(tmp_path / "a.bin", some_ids(100))
    read = arrays.read_ids

    def grown(path, dtype):
        write_nanogpt(path, some_ids(200))
        return read(path, dtype)

    monkeypatch.setattr(arrays, "read_ids", grown)
    with pytest.raises(UserError, match="changed while"):
        prepared(tmp_path / "a.bin", tmp_path)
