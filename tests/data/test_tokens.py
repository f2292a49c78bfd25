"""Token arrays are whole, small, found again, and made again when damaged."""

import errno
import json
import math
import operator
import os
import pickle
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.data import Coded, TokenStream, encoding, token_files
from lm_jax.data.shards import Shards, Share, Shared, encoding_share
from lm_jax.data.tokens import tokenize
from lm_jax.errors import UserError
from lm_jax.text import Corpus, find
from lm_jax.text.splitting import Piece
from lm_jax.tokenizers import Bytes, Characters, Kept, Subwords, Words, save_tokenizer
from lm_jax.tokenizers.encoders import Encoders
from tests.properties import quick

CHINESE = "牀前明月光，疑是地上霜。\n舉頭望明月，低頭思故鄉。\n"


@pytest.fixture
def poem(tmp_path):
    path = tmp_path / "poem.txt"
    path.write_text(CHINESE * 40, encoding="utf-8")
    return Corpus(str(path))


@pytest.mark.parametrize(
    "tokenizer", [Characters(), Bytes(), Words(), Subwords(size=300)]
)
def test_the_tokens_are_those_of_the_text(poem, tmp_path, tokenizer):
    made = TokenStream(poem, tokenizer, 8).prepare(tmp_path / "cache")
    train = (CHINESE * 40)[: int(0.9 * 40 * len(CHINESE))]
    split = made.splits["train"]
    np.testing.assert_array_equal(split.ids, made.tokenizer.encode(train))
    count, size = len(split.ids), len(train.encode())
    bits = count * math.log2(made.vocab_size)
    assert split.coded == Coded(size, size, 0, count, pytest.approx(bits))
    assert split.documents.tolist() == [0, len(split.ids)]
    again = TokenStream(poem, tokenizer, 16).prepare(tmp_path / "cache")
    assert again.tokenizer == made.tokenizer
    assert len(list((tmp_path / "cache" / "tokens").iterdir())) == 1


def test_ids_are_stored_as_narrow_as_the_vocabulary_allows(tmp_path, poem):
    made = TokenStream(poem, Characters(), 8).prepare(tmp_path)
    assert made.splits["train"].ids.dtype == np.uint8
    made = TokenStream(poem, Subwords(300), 8).prepare(tmp_path)
    assert made.splits["train"].ids.dtype == np.uint16
    assert token_files.narrowest(65_536) == "<u2"
    assert token_files.narrowest(65_537) == "<u4"


def entry(cache):
    (folder,) = (cache / "tokens").iterdir()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_threads_processes_and_a_kill_change_no_byte(tmp_path, monkeypatch):
    stream = TokenStream(Corpus("tangshi300"), Subwords(3000), 32)
    stream.prepare(tmp_path / "one")
    whole = entry(tmp_path / "one")
    monkeypatch.setattr(encoding, "_CHUNK_CHARACTERS", 300)
    monkeypatch.setattr(encoding, "_POOL_BYTES", 0)
    monkeypatch.setattr(encoding, "cores", lambda: 2)
    monkeypatch.setattr(token_files, "_NOTED_CHUNKS", 8)
    add, added, last = token_files.Writer.add, [], 1000

    def counted(writer, encoded):
        added.append(encoded)
        if len(added) == last:
            raise KeyboardInterrupt  # as a kill: nothing is tidied away
        add(writer, encoded)

    monkeypatch.setattr(token_files.Writer, "add", counted)
    stream.prepare(tmp_path / "threads")
    assert entry(tmp_path / "threads") == whole
    many, last = len(added), 20
    assert many > 2 * last
    added.clear()
    monkeypatch.setattr(encoding, "_PROCESSES_BYTES", 0)
    with pytest.raises(KeyboardInterrupt):
        stream.prepare(tmp_path / "killed")
    (left,) = (tmp_path / "killed" / "tokens").iterdir()
    for path in left.glob("train.*"):
        path.write_bytes(path.read_bytes() + b"torn")
    added.clear()
    last = 1000
    stream.prepare(tmp_path / "killed")
    assert len(added) == many - 16
    assert entry(tmp_path / "killed") == whole


def test_machines_that_share_a_text_make_what_one_makes(tmp_path, monkeypatch):
    """Two of three encode their shares, one of them in two goes; the rest is made."""
    texts = [tmp_path / f"{name}.txt" for name in "ab"]
    for path in texts:
        path.write_text("\n".join(f"{path.name} line {k} of it" for k in range(300)))
    found = [find(Corpus(str(p), separator="\n"), tmp_path / "c") for p in texts]
    monkeypatch.setattr(encoding, "_CHUNK_CHARACTERS", 400)
    tokenize(found, Words(), True, tmp_path / "one")
    encode, encoded = encoding.encode_chunk, []

    def counted(*args):
        encoded.append(args)
        if len(encoded) == 4:
            raise KeyboardInterrupt
        return encode(*args)

    monkeypatch.setattr(encoding, "encode_chunk", counted)

    def share(number):
        with pytest.raises(Shared), encoding_share(Share(number, 3)):
            tokenize(found, Words(), True, tmp_path / "many")

    with pytest.raises(KeyboardInterrupt):
        share(0)
    share(0)
    first = len(encoded)
    share(2)
    whole = 3 * (first - 1)  # as near as two texts let shares be
    (shards,) = (tmp_path / "many" / "tokens").iterdir()
    next(shards.glob("1-*.npz")).write_bytes(b"torn")
    encoded[4:] = []
    tokenize(found, Words(), True, tmp_path / "many")
    assert len(encoded) - 4 == pytest.approx(whole / 3 + 1, abs=2)
    assert entry(tmp_path / "many") == entry(tmp_path / "one")
    share_again = TokenStream(Corpus(str(texts[0])), Words(), 8)
    with encoding_share(Share(0, 1)), pytest.raises(Shared):
        share_again.prepare(tmp_path / "x")
    made = share_again.prepare(tmp_path / "x")
    with encoding_share(Share(0, 1)):
        assert share_again.prepare(tmp_path / "x").digest == made.digest


@pytest.mark.parametrize("asked", [("1", None), (None, "2"), ("2", "2"), ("0", "x")])
def test_a_share_is_one_of_several(asked):
    with pytest.raises(UserError, match="give --shares N"):
        Share.read(*asked)


def test_a_mixture_goes_on_in_its_second_text(tmp_path, monkeypatch):
    """Where each text begins and ends is known again."""
    texts = [tmp_path / f"{name}.txt" for name in "ab"]
    for path in texts:
        path.write_text("\n".join(f"line {k} of a text" for k in range(300)))
    found = [find(Corpus(str(p), separator="\n"), tmp_path / "c") for p in texts]
    monkeypatch.setattr(encoding, "_CHUNK_CHARACTERS", 400)
    monkeypatch.setattr(token_files, "_NOTED_CHUNKS", 4)
    tokenize(found, Characters(), True, tmp_path / "one")
    add, added = token_files.Writer.add, []

    def killed(writer, encoded):
        added.append(encoded)
        if len(added) == 27:
            raise KeyboardInterrupt
        add(writer, encoded)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(token_files.Writer, "add", killed)
        tokenize(found, Characters(), True, tmp_path / "two")
    (left,) = (tmp_path / "two" / "tokens").iterdir()
    assert len(json.loads((left / "noted.json").read_text())["chunks"]) == 2
    tokenize(found, Characters(), True, tmp_path / "two")
    assert entry(tmp_path / "two") == entry(tmp_path / "one")


def test_a_process_that_encodes_answers_refuses_and_is_missed():
    with Encoders(operator.add, (1,), 2) as encode:
        assert [encode(number) for number in (2, 3, 4)] == [3, 4, 5]
        # The keys of a terminal don't reach them: each would print a traceback.
        groups = {os.getpgid(process.pid) for process in encode._started}
        assert len(groups - {os.getpgid(0)}) == 2
        for process in encode._started:
            process.kill()
        for _ in range(3):
            with pytest.raises(UserError, match="is no more. It ended with signal 9"):
                encode(5)


@pytest.mark.parametrize("left", [0, 1, 10])
def test_a_process_that_encodes_ends_in_silence_with_who_asked(left):
    """Also where that was killed while it asked."""
    asked = pickle.dumps((operator.add, (1,))) + pickle.dumps(2 * "long")[:left]
    done = subprocess.run(
        [sys.executable, "-m", "lm_jax.tokenizers.encoders"],
        input=asked,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("tokenizer", "lost"),
    [
        (Words(size=3), ["sees", "春", "birds"]),
        (Words(), ["春", "birds"]),
        (Characters(unknown=True), ["春", "b", "i", "r", "d"]),
        (Bytes(), []),
    ],
)
def test_what_became_unknown_is_spelled(tmp_path, tokenizer, lost):
    """An <unk> that the text itself spells is a word like others."""
    (tmp_path / "train.txt").write_text("a cat sees <unk> <unk> <unk> a cat\n" * 3)
    (tmp_path / "valid.txt").write_text("a <unk> sees 春 birds")
    made = TokenStream(Corpus(str(tmp_path)), tokenizer, 4).prepare(tmp_path / "cache")
    coded = made.splits["validation"].coded
    size = len("a <unk> sees 春 birds".encode())
    bits = sum(8 * len(word.encode()) + 8 for word in lost)
    assert coded[:3] == (size, size, bits)
    assert (f"spelled in {bits} bits" in made.statement) == bool(lost)


documents = st.lists(
    st.text(st.sampled_from("aB é春\n\t\r\x1c\xa0"), max_size=30),
    min_size=1,
    max_size=6,
)


@quick
@given(documents, st.booleans(), st.sampled_from([1, 5, 1000]), st.data())
def test_bytes_are_those_of_what_is_decoded(texts, lowercase, chunk, data):
    """However a text is cut into pieces and chunks; each document by itself."""
    tokenizer = Words(lowercase=lowercase).train([*texts, "\n"], end=True)
    pieces = []
    for text in texts:
        spaces = [i for i, c in enumerate(text) if c == " " or text[:i].endswith("\n")]
        cuts = (
            data.draw(st.lists(st.sampled_from(spaces), unique=True)) if spaces else []
        )
        parts = np.split(np.array(list(text), object), sorted(cuts))
        strings = ["".join(part) for part in parts]
        pieces += [Piece("train", part, False) for part in strings[:-1]]
        pieces.append(Piece("train", strings[-1], True))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as files:
        writer = token_files.Writer(Path(folder), "train", files, False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(encoding, "_CHUNK_CHARACTERS", chunk)
            for made in encoding.encode_text(
                pieces, tokenizer, "<u2", 1, Shards(Path(folder), 0)
            ):
                writer.add(made)
        coded = writer.meta()["coded"]
    decoded = [tokenizer.decode(tokenizer.encode(text)) for text in texts]
    assert coded["bytes"] == sum(len(text.encode()) for text in decoded)
    assert coded["read"] == sum(len(text.encode()) for text in texts)
    assert coded["spelling"] == 0


def test_the_canonical_text_is_stated(tmp_path):
    (tmp_path / "a.txt").write_text("The  cat\t sat \n ON it  \n" * 20)
    stream = TokenStream(Corpus(str(tmp_path / "a.txt")), Words(lowercase=True), 4)
    made = stream.prepare(tmp_path / "cache")
    assert "forget capitals, and all white space but line ends and" in made.statement
    train = made.splits["train"]
    assert train.coded.bytes == len(made.tokenizer.decode(train.ids)) < train.coded.read
    said = f"{train.coded.bytes} bytes ({train.coded.read} as it was read)"
    assert said in made.statement


def test_documents_are_followed_by_their_end(tmp_path):
    made = TokenStream(Corpus("names"), Characters(), 32).prepare(tmp_path)
    split = made.splits["train"]
    ends = np.flatnonzero(split.ids == made.tokenizer.end_id)
    np.testing.assert_array_equal(ends + 1, split.documents[1:])
    first = made.tokenizer.decode(split.ids[: split.documents[1]])
    assert first == "emma"
    assert len(split.ids) == split.coded.bytes + len(ends)


def test_it_is_said_where_documents_run_together(tmp_path, poem):
    """A tokenizer that was trained on one text has no token that ends a document."""
    cache, kept = tmp_path / "cache", tmp_path / "tokenizer.json"
    one = TokenStream(poem, Characters(), 8).prepare(cache)
    save_tokenizer(one.tokenizer, kept)
    lines = Corpus(poem.source, separator="\n", validation=0.0)
    made = TokenStream(lines, Kept(str(kept)), 8).prepare(cache)
    text = made.tokenizer.decode(made.splits["train"].ids)
    assert text == (CHINESE * 40).replace("\n", "")
    said = "follow each other with nothing between them"
    assert said in made.statement and said not in one.statement
    assert said not in TokenStream(lines, Characters(), 8).prepare(cache).statement


def test_a_one_text_corpus_has_no_end_token(tmp_path):
    made = TokenStream(Corpus(), Characters(), 64).prepare(tmp_path)
    assert made.vocab_size == 65
    assert made.tokenizer.end_id is None


@pytest.mark.parametrize("damage", ["truncate", "remove", "meta", "tokenizer"])
def test_a_damaged_entry_is_made_again(tmp_path, poem, damage):
    stream = TokenStream(poem, Characters(), 8)
    whole = stream.prepare(tmp_path / "cache")
    expected = np.array(whole.splits["train"].ids)
    (entry,) = (tmp_path / "cache" / "tokens").iterdir()
    if damage == "truncate":
        (entry / "train.ids").write_bytes(b"123")
    elif damage == "remove":
        (entry / "train.ids").unlink()
    elif damage == "meta":
        (entry / "meta.json").write_text("{")
    else:
        path = entry / "tokenizer.json"
        path.write_text("x" * path.stat().st_size)
    again = stream.prepare(tmp_path / "cache")
    assert "made again" in again.statement
    np.testing.assert_array_equal(again.splits["train"].ids, expected)
    assert "made again" not in stream.prepare(tmp_path / "cache").statement


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO, errno.EACCES])
def test_what_cant_be_read_now_is_not_damaged(tmp_path, poem, monkeypatch, code):
    stream = TokenStream(poem, Characters(), 8)
    stream.prepare(tmp_path)
    whole = entry(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(np, "memmap", Mock(side_effect=OSError(code, os.strerror(code))))
        stream.prepare(tmp_path)
    assert entry(tmp_path) == whole
    assert "made again" not in stream.prepare(tmp_path).statement


def test_a_full_disk_leaves_nothing(tmp_path, poem, monkeypatch):
    def full(self, encoded):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(token_files.Writer, "add", full)
    with pytest.raises(UserError, match=f"Cannot write {tmp_path}.*: the disk is full"):
        TokenStream(poem, Characters(), 8).prepare(tmp_path / "cache")
    assert list((tmp_path / "cache" / "tokens").iterdir()) == []


def test_changed_text_is_tokenized_anew(tmp_path, poem):
    stream = TokenStream(poem, Characters(), 8)
    stream.prepare(tmp_path / "cache")
    path = tmp_path / "poem.txt"
    path.write_text("新" + path.read_text(encoding="utf-8"), encoding="utf-8")
    made = stream.prepare(tmp_path / "cache")
    assert made.tokenizer.decode(made.splits["train"].ids[:1]) == "新"


def test_a_text_is_known_whatever_its_tokens_and_its_file_are(tmp_path):
    """The same content and split: the same digest; and no other has it."""
    lines = [f"line {i}" for i in range(40)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    (tmp_path / "b.txt").write_bytes("\r\n".join(lines).encode())
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"text": line, "id": 3}) + "\n" for line in lines)
    )

    def digest(name, tokenizer=Characters(), **how):
        corpus = Corpus(str(tmp_path / name), **how)
        return TokenStream(corpus, tokenizer, 8).prepare(tmp_path / "cache").text

    whole, cut = digest("a.txt"), digest("a.txt", separator="\n")
    assert digest("b.txt") == digest("a.txt", Bytes()) == whole
    assert digest("a.jsonl", Words()) == digest("a.jsonl") == cut
    split = digest("a.txt", validation=0.2)
    (tmp_path / "a.txt").write_text("\n".join(lines)[:-1] + "8")
    assert len({whole, cut, split, digest("a.txt")}) == 4


def test_a_character_of_validation_that_training_lacks(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a" * 99 + "é", encoding="utf-8")
    with pytest.raises(UserError, match="In the validation split: .*'é'"):
        TokenStream(Corpus(str(path)), context=8).prepare(tmp_path)
    stream = TokenStream(Corpus(str(path)), Characters(unknown=True), 8)
    assert "10.00% of them unknown" in stream.prepare(tmp_path).statement


def test_progress_reaches_its_total(tmp_path):
    told = []
    stream = TokenStream(Corpus("tangshi300"), Characters(True), 32)
    stream.prepare(tmp_path, progress=lambda *what: told.append(what))
    assert {what for what, _, _ in told} == {"reading", "tokenizing"}
    assert all(0 <= done <= total for _, done, total in told)
    assert told[-1][1] > 0.9 * told[-1][2]


@pytest.mark.slow
def test_learning_a_vocabulary_is_said_between_reading_and_tokenizing(
    tmp_path, monkeypatch, poem
):
    """SentencePiece reads all, and then is silent for long."""
    monkeypatch.setattr(token_files, "_MUCH", 0)
    told = []
    text = find(poem, tmp_path / "cache")
    tokenize([text], Words(), False, tmp_path, lambda *what: told.append(what))
    what = "learning a vocabulary of Words"
    size = text.bytes
    assert told == [
        ("reading", size, size),
        (what, 0, -1),
        (what, 1, -1),
        ("tokenizing", size, size),
    ]


def test_a_warm_start_imports_no_heavy_library(tmp_path):
    TokenStream(Corpus("names"), Characters(), 32).prepare(tmp_path)
    code = (
        "import sys, pathlib; from lm_jax.data import *;"
        "from lm_jax.text import Corpus; from lm_jax.tokenizers import *;"
        "stream = TokenStream(Corpus('names'), Characters(), 32);"
        "stream.prepare(pathlib.Path(sys.argv[1]));"
        "print([m for m in ('datasets', 'sentencepiece', 'pandas', 'pyarrow')"
        " if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
