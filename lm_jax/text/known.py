"""The corpora that have a name: shipped, or below $LM_JAX_DATA."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from lm_jax.errors import UserError
from lm_jax.text.babi import training_stories
from lm_jax.text.dialogues import dialogue_lines
from lm_jax.text.opening import COMPRESSED, plain_name
from lm_jax.text.reading import blocks
from lm_jax.text.squad import passages

SHIPPED = Path(__file__).parent / "shipped"
Form = Literal[
    "text",
    "stripped lines",
    "poems",
    "chapters",
    "tar",
    "label first",
    "imdb",
    "named columns",
    "rated pairs",
    "parallel lines",
    "tabbed pairs",
    "summaries",
    "dialogues",
    "squad",
    "cmrc",
    "babi",
]


@dataclass(frozen=True)
class Known:
    """Where a corpus lies and how it is to be read."""

    title: str
    folder: str = ""
    """Folder below $LM_JAX_DATA; empty where the corpus is shipped."""
    files: tuple[str, ...] = ()
    """Names of its files, each plain or compressed."""
    instead: tuple[tuple[str, ...], ...] = ()
    """Files that are taken where those are not there."""
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

    def found(self, root: Path) -> list[Path]:
        """List its files in a folder, some perhaps both plain and compressed.

        They are those that it names, whatever else the folder holds: the first
        names that are all there, else those of the first that are.
        """
        sets = [
            [_variants(root, name) for name in names]
            for names in (self.files, *self.instead)
        ]
        chosen = [each for each in sets if all(each)] or [e for e in sets if any(e)]
        return [path for paths in chosen[:1] for found in paths for path in found]

    def missing(self, found: list[Path]) -> list[str]:
        """List what lacks in the files that were found, by name."""
        here = {plain_name(path) for path in found}
        used = next((n for n in (self.files, *self.instead) if here & {*n}), ())
        return [name for name in used if name not in here]


def _variants(root: Path, name: str) -> list[Path]:
    paths = (root / f"{name}{end}" for end in ("", *COMPRESSED))
    return [path for path in paths if path.is_file()]


KNOWN = {
    "tinyshakespeare": Known(
        "Tiny Shakespeare",
        files=("tinyshakespeare.txt",),
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
    "names": Known("32,033 given names", files=("names.txt",), separator="\n"),
    "tangshi300": Known(
        "Three Hundred Tang Poems", files=("tangshi300.tsv",), form="poems"
    ),
    "quantangshi": Known(
        "Complete Tang Poems",
        "poetry",
        ("quantangshi_trad.tsv",),
        form="poems",
    ),
    "ptb": Known(
        "Penn Treebank",
        "ptb",
        ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"),
        form="stripped lines",
    ),
    "wikitext-2": Known(
        "WikiText-2",
        "wikitext-2",
        ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"),
    ),
    "text8": Known("text8", "text8", ("text8",), (("text8.txt",), ("text8.prefix",))),
    "gutenberg": Known(
        "Project Gutenberg books", "gutenberg", ("gutenberg.tar",), form="tar"
    ),
    "tinystories": Known(
        "TinyStories",
        "tinystories",
        ("TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt"),
        (
            ("TinyStories-train.txt", "TinyStories-valid.txt"),
            ("train_v2_slice_first10k_lines.txt",),
        ),
        separator="<|endoftext|>",
    ),
    "trec": Known(
        "TREC questions",
        "trec",
        ("TREC.train.all", "TREC.test.all"),
        form="label first",
    ),
    "sst2": Known(
        "Stanford Sentiment Treebank, sentences of two classes",
        "sst",
        ("stsa.binary.train", "stsa.binary.dev", "stsa.binary.test"),
        form="label first",
    ),
    "sst2-phrases": Known(
        "Stanford Sentiment Treebank, two classes, trained on phrases",
        "sst",
        ("glue_train.tsv", "stsa.binary.dev", "stsa.binary.test"),
        form="label first",
    ),
    "sst5": Known(
        "Stanford Sentiment Treebank, sentences of five classes",
        "sst",
        ("stsa.fine.train", "stsa.fine.dev", "stsa.fine.test"),
        form="label first",
    ),
    "imdb": Known(
        "IMDB reviews, marks of punctuation apart",
        "imdb",
        ("train.tsv", "test.tsv"),
        form="imdb",
    ),
    "chnsenticorp": Known(
        "ChnSentiCorp reviews",
        "chnsenticorp",
        ("train.tsv", "dev.tsv", "test.tsv"),
        form="named columns",
    ),
    "stsb": Known(
        "STS Benchmark, English",
        "stsb",
        ("stsb-en-train.csv", "stsb-en-dev.csv", "stsb-en-test.csv"),
        form="rated pairs",
    ),
    "stsb-zh": Known(
        "STS Benchmark, translated into Chinese by machine",
        "stsb",
        ("stsb-zh-train.csv", "stsb-zh-dev.csv", "stsb-zh-test.csv"),
        form="rated pairs",
    ),
    "multi30k": Known(
        "Multi30k, English and German",
        "multi30k",
        tuple(
            f"{split}.{language}"
            for split in ("train", "val", "test_2016_flickr")
            for language in ("en", "de")
        ),
        form="parallel lines",
    ),
    "tatoeba": Known(
        "Tatoeba, English and Chinese",
        "tatoeba",
        ("cmn-eng.txt",),
        form="tabbed pairs",
    ),
    "scitldr": Known(
        "SciTLDR, abstracts of papers and their summaries",
        "scitldr",
        ("train.jsonl", "dev.jsonl", "test.jsonl"),
        form="summaries",
    ),
    "dailydialog": Known(
        "DailyDialog",
        "dailydialog",
        ("train.zip", "validation.zip", "test.zip"),
        form="dialogues",
    ),
    "squad": Known(
        "SQuAD 1.1, its development set", "squad", ("dev-v1.1.json",), form="squad"
    ),
    "cmrc2018": Known(
        "CMRC 2018, its development set",
        "cmrc2018",
        ("cmrc2018_dev.json",),
        form="cmrc",
    ),
    "babi": Known(
        "bAbI, 20 tasks of 1,000 questions",
        "babi",
        ("babi_v1.2_en_1k.tar",),
        form="babi",
    ),
    "classics": Known(
        "Four Chinese novels",
        "classics",
        tuple(
            f"{name}.txt"
            for name in ("hongloumeng", "sanguoyanyi", "shuihuzhuan", "xiyouji")
        ),
        form="chapters",
    ),
}


def namesakes(source: str, root: Path | None) -> list[str]:
    """Say that what lies here under the name of a known text is another one.

    Args:
        source: that name.
        root: the folder of the known text, if there may be one.
    """
    here = Path(source)
    if not here.exists() or (root and root.exists() and here.samefile(root)):
        return []
    return [f"What lies here as '{source}' is another text: its path is ./{source}."]


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
        "Else give the path of a text, jsonl, csv, tsv or parquet file or folder, or, "
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


# The forms of text that are documents, and what finds them.
DOCUMENTS: dict[str, Callable[[Path], Iterator[str]]] = {
    "poems": poems,
    "chapters": chapters,
    "dialogues": dialogue_lines,
    "squad": passages,
    "cmrc": partial(passages, found=True),
    "babi": training_stories,
}
