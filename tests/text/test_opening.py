"""Compressed texts are read by their name; what is no text is named."""

import bz2
import gzip
import lzma
import tarfile

import pyarrow
import pytest

from lm_jax.errors import UserError
from lm_jax.text import Corpus, find
from lm_jax.text.opening import plain_name, suffix
from tests.text import splits_of

PACK = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pyarrow.compress(data, "zstd", asbytes=True),
}
LINES = "a line of some length\r\n" * 2000


@pytest.mark.parametrize("end", [*PACK, ".GZ", ".Xz"])
def test_compressed_text_is_the_text(tmp_path, end):
    (tmp_path / "a.txt").write_bytes(LINES.encode())
    (tmp_path / f"a.txt{end}").write_bytes(PACK[end.lower()](LINES.encode()))
    plain, packed = (
        find(Corpus(str(tmp_path / name)), tmp_path / "cache")
        for name in ("a.txt", f"a.txt{end}")
    )
    assert packed.digest == plain.digest
    assert list(packed.pieces()) == list(plain.pieces())


@pytest.mark.parametrize("end", PACK)
@pytest.mark.parametrize("damage", ["cut", "other", "empty"])
def test_damaged_files(tmp_path, end, damage):
    path = tmp_path / f"a.txt{end}"
    whole = PACK[end](bytes(range(256)) * 2000)
    path.write_bytes(
        {"cut": whole[:-20], "other": b"no such thing", "empty": b""}[damage]
    )
    with pytest.raises(UserError, match="a.txt.* is (damaged|empty)"):
        find(Corpus(str(path)), tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.txt",
            gzip.compress(b"text", mtime=0),
            "compressed by gzip: let its name end in .gz",
        ),
        ("a", bz2.compress(b"text"), "end in .bz2"),
        ("a", lzma.compress(b"text"), "end in .xz"),
        ("a.md", PACK[".zst"](b"text"), "end in .zst"),
        ("text8.zip", b"PK\x03\x04\xff", "a zip archive, or .*unpack it"),
        ("a.npy", b"\x93NUMPY\x01", "a NumPy array: ids are read from .bin"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1", "of an office program: save it as plain"),
        ("a.jpg", b"\xff\xd8\xff\xe0", "an image, and no text"),
        ("a.pdf", b"%PDF-1.7\n\xff", "a PDF: extract its text first"),
        ("a", "text".encode("utf-16"), "is UTF-16: convert it first"),
        ("a", b"PAR1\xff", "a parquet file: let its name end in .parquet"),
        (
            "a.tgz",
            gzip.compress(b"text", mtime=0),
            "an archive: unpack it and give the folder",
        ),
        ("a", b"caf\xe9", "Convert the file to UTF-8 first"),
    ],
)
def test_what_is_not_utf8_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"is not UTF-8.*{said}"):
        splits_of(Corpus(str(tmp_path / name)), tmp_path / "cache")


def test_an_archive_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.txt")
    with pytest.raises(UserError, match="It is an archive: unpack it"):
        find(Corpus(str(tmp_path / "a.tar.gz")), tmp_path / "cache")


def test_names(tmp_path):
    assert plain_name(tmp_path / "a.b.gz") == "a.b"
    assert plain_name(tmp_path / ".gz") == ".gz"
    assert suffix(tmp_path / "A.JSONL.Zst") == ".jsonl"
    assert suffix(tmp_path / "gz") == ""
