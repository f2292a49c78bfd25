"""The corpora that have a name: shipped, or below $LM_JAX_DATA."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lm_jax.errors import UserError
from lm_jax.text.reading import blocks, old_lines

SHIPPED = Path(__file__).parent / "shipped"
Form = Literal["text", "stripped lines", "poems", "chapters", "tar", "label first"]


@dataclass(frozen=True)
class Known:
    """Where a corpus lies and how it is to be read."""

    title: str
    folder: str = ""
    """Folder below $LM_JAX_DATA; empty where the corpus is shipped."""
    files: str = "*"
    """Pattern of its files."""
    separator: str = ""
    form: Form = "text"
    sha256: str = ""
    """Digest of the plain text, checked where given."""

    @property
    def root(self) -> Path | None:
        """The folder of its files, or None where $LM_JAX_DATA is not set."""
        if not self.folder:
            return SHIPPED
        data = os.environ.get("LM_JAX_DATA")
        return Path(data).expanduser() / self.folder if data else None


KNOWN = {
    "tinyshakespeare": Known(
        "Tiny Shakespeare",
        files="tinyshakespeare.txt.gz",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
    "names": Known("32,033 given names", files="names.txt.gz", separator="\n"),
    "tangshi300": Known(
        "Three Hundred Tang Poems", files="tangshi300.tsv.gz", form="poems"
    ),
    "quantangshi": Known(
        "Complete Tang Poems",
        "poetry",
        files="quantangshi_trad.tsv.gz",
        form="poems",
    ),
    "ptb": Known("Penn Treebank", "ptb", form="stripped lines"),
    "wikitext-2": Known("WikiText-2", "wikitext-2"),
    "text8": Known("text8", "text8"),
    "gutenberg": Known("Project Gutenberg books", "gutenberg", form="tar"),
    "tinystories": Known("TinyStories", "tinystories", separator="<|endoftext|>"),
    "trec": Known("TREC questions", "trec", files="TREC.*", form="label first"),
    "classics": Known("Four Chinese novels", "classics", form="chapters"),
}


def available() -> str:
    """List the corpora that can be named here, and how to get the others."""
    shipped = [name for name, known in KNOWN.items() if not known.folder]
    below = {name: known.root for name, known in KNOWN.items() if known.folder}
    found = [name for name, root in below.items() if root and root.is_dir()]
    missing = [name for name in below if name not in found]
    sentences = [f"Shipped: {', '.join(shipped)}."]
    if found:
        sentences.append(f"Below $LM_JAX_DATA: {', '.join(found)}.")
    if missing:
        sentences.append(
            f"With $LM_JAX_DATA set to a folder that holds them: {', '.join(missing)}."
        )
    sentences.append(
        "Else give the path of a text, jsonl, csv or parquet file or folder, or, "
        "with a network, the id of a Hugging Face data set."
    )
    return " ".join(sentences)


def poems(path: Path) -> Iterator[str]:
    """Make a document of each line author<TAB>title<TAB>text of a file.

    The document is the title, the author and the text, each on a line of its
    own, as anthologies print them.

    Raises:
        UserError: the file cannot be read, or a line is not of that form.
    """
    for number, line in enumerate("".join(blocks(path)).split("\n"), 1):
        if line.strip():
            fields = line.split("\t")
            if len(fields) != 3:
                raise UserError(
                    f"{path}, line {number}: {len(fields)} fields with tabs between, "
                    "where a poem has 3: author, title and text."
                )
            author, title, text = fields
            yield f"{title}\n{author}\n{text}"


def chapters(path: Path) -> Iterator[str]:
    """Make a document of each chapter of a Chinese novel: it begins with 第...回.

    Raises:
        UserError: the file cannot be read.
    """
    novel = "".join(blocks(path))
    for chapter in re.split(r"^(?=第\w{1,6}回)", novel, flags=re.MULTILINE):
        if chapter := chapter.strip():
            yield chapter


def stripped_lines(texts: Iterable[str]) -> Iterator[str]:
    """Take the blanks around each line away, as Mikolov's character PTB does.

    The texts must be cut at line ends.
    """
    for block in texts:
        yield "\n".join(line.strip(" ") for line in block.split("\n"))


def label_first(path: Path) -> Iterator[tuple[str, str]]:
    """Make a document and its label of each line: the label, a space and the text.

    Raises:
        UserError: the file cannot be read, or a line is not of that form.
    """
    for number, line in enumerate(old_lines(path), 1):
        if line.strip():
            label, _, text = line.partition(" ")
            if not text.strip():
                raise UserError(
                    f"{path}, line {number}: {line!r} is no label, space and text."
                )
            yield text.strip(), label


# The forms of documents that have labels, and what finds both.
LABELLED = {"label first": label_first}
# The forms of text that are documents, and what finds them.
DOCUMENTS = {"poems": poems, "chapters": chapters}
