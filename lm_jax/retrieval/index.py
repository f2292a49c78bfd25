"""An index on disk: documents, and their vectors or their terms, ready to be searched.

index.json says what it is, and of which run and which documents. Vectors are rows of
one file, written as they are made and memory-mapped when they are searched, so that
neither needs memory for all.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh

from lm_jax.counting import BM25, load_bm25
from lm_jax.data import Passages
from lm_jax.errors import UserError
from lm_jax.experiment.names import to_json
from lm_jax.files import save_array, write_json
from lm_jax.folders import check_new, whole_folder
from lm_jax.retrieval.embedding import embed, longest
from lm_jax.retrieval.nearest import Found, nearest_rows
from lm_jax.retrieval.terms import best_by_terms, terms_of
from lm_jax.runs.model import CountedModel, NeuralModel
from lm_jax.text import Collection
from lm_jax.text.collection import Passage
from lm_jax.tokenizers import Trained, load_tokenizer, save_tokenizer
from lm_jax.tokenizers.saved import digest as tokenizer_digest

FORMAT = 1
Dtype = Literal["float32", "float16"]
Progress = Callable[[str, int, int], None]
Model = NeuralModel | CountedModel
_ABOUT, _DOCUMENTS, _VECTORS = "index.json", "documents.jsonl", "vectors.bin"
_TERMS, _TOKENIZER = "bm25.npz", "tokenizer.json"
_PART = 4096  # Documents that are read at a time.


def run_digest(model: Model) -> str:
    """Name all that a run's vectors of texts depend on."""
    found = sha256(tokenizer_digest(model.tokenizer).encode())
    if isinstance(model, CountedModel):
        found.update(json.dumps(to_json(model.experiment.model)).encode())
        return found.hexdigest()[:20]
    lengths = [longest(model, "query"), longest(model, "passage"), _titles(model)]
    found.update(json.dumps([to_json(model.model), lengths]).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.params):
        array = np.asarray(leaf)
        found.update(f"{path} {array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:20]


def check_ranks(model: Model, run: Path) -> None:
    """Refuse a run that finds no documents.

    Raises:
        UserError: saying which do.
    """
    if not (model.embeds or isinstance(model.experiment.model, BM25)):
        raise UserError(
            f"{run} finds no documents: an index is of a BiEncoder, or of BM25()."
        )


def _titles(model: Model) -> bool:
    """Whether a document's title is read before its text."""
    data = model.experiment.data
    return (data.corpus if isinstance(data, Passages) else Collection()).titles


def build_index(
    model: Model,
    run: Path,
    documents: Iterable[Passage],
    folder: Path,
    mesh: Mesh,
    dtype: Dtype = "float32",
    progress: Progress | None = None,
) -> "Index":
    """Write an index of documents, whole or not at all.

    BM25 weighs the terms of these documents, in a vocabulary of their own.

    Args:
        model: of the run.
        run: its directory.
        documents: read once; what is made of them is made of those in the index.
        folder: of the index; it must be new.
        mesh: devices that share the work.
        dtype: of the vectors.
        progress: told (description, done, total); the total is 0 until it is known.

    Raises:
        UserError: the run finds no documents; there is none; the folder holds
            something, or can't be written.
    """
    check_ranks(model, run)
    check_new(folder, "The index")
    with whole_folder(folder) as temporary:
        about = _write_documents(temporary, documents)
        about |= {"run": str(run.absolute()), "step": model.step}
        about |= {"format": FORMAT, "run_digest": run_digest(model)}
        if isinstance(model, CountedModel):
            about |= _write_terms(temporary, model)
        else:
            about |= _write_vectors(temporary, model, mesh, dtype, progress)
        write_json(temporary / _ABOUT, about)
    return open_index(folder)


def _write_documents(folder: Path, documents: Iterable[Passage]) -> dict[str, Any]:
    """Write the documents, a line each, and where each line begins."""
    starts, found = [0], sha256()
    with (folder / _DOCUMENTS).open("wb") as file:
        for passage in documents:
            line = json.dumps(passage._asdict(), ensure_ascii=False) + "\n"
            file.write(raw := line.encode("utf-8", "backslashreplace"))
            found.update(raw)
            starts.append(starts[-1] + len(raw))
    if len(starts) == 1:
        raise UserError("There is no document to index.")
    save_array(folder / "starts.npy", np.array(starts, np.int64))
    return {"documents": len(starts) - 1, "corpus_digest": found.hexdigest()[:20]}


def _written(folder: Path) -> Iterator[Passage]:
    """The documents that were written: their files may be others by now."""
    with (folder / _DOCUMENTS).open("rb") as file:
        yield from (Passage(**json.loads(line)) for line in file)


def _write_terms(folder: Path, model: CountedModel) -> dict[str, Any]:
    data, titles = model.experiment.data, _titles(model)
    texts = (passage.whole(titles) for passage in _written(folder))
    tokenizer = data.tokenizer.train(texts, end=True)
    ids = [
        terms_of(tokenizer, tokenizer.encode(passage.whole(titles)))
        for passage in _written(folder)
    ]
    fitted = model.experiment.model.fit(ids, tokenizer.vocab_size)
    fitted.save(folder / _TERMS)
    save_tokenizer(tokenizer, folder / _TOKENIZER)
    return {"kind": "terms", "statement": fitted.statement}


def _write_vectors(
    folder: Path,
    model: NeuralModel,
    mesh: Mesh,
    dtype: Dtype,
    progress: Progress | None,
) -> dict[str, Any]:
    titles, width = _titles(model), 0
    left = _written(folder)
    with (folder / _VECTORS).open("wb") as file:
        done = 0
        while part := list(islice(left, _PART)):
            texts = [passage.whole(titles) for passage in part]
            rows = embed(model, texts, "passage", mesh).astype(dtype)
            file.write(rows.tobytes())
            width, done = rows.shape[1], done + len(part)
            if progress is not None:
                progress("reading documents", done, 0)
    return {"kind": "vectors", "width": width, "dtype": dtype}


@dataclass(frozen=True)
class Index:
    """An index that was opened.

    Attributes:
        folder: where it lies.
        about: what index.json says.
    """

    folder: Path
    about: dict[str, Any]

    @property
    def of_terms(self) -> bool:
        """Whether it is BM25's, which needs no run to be searched."""
        return self.about["kind"] == "terms"

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.load(self.folder / "starts.npy", mmap_mode="r")

    @cached_property
    def _terms(self) -> tuple[Any, Trained]:
        tokenizer = load_tokenizer(self.folder / _TOKENIZER)
        return load_bm25(self.folder / _TERMS), tokenizer

    @cached_property
    def vectors(self) -> np.ndarray:
        """The vectors, (documents, width), memory-mapped."""
        shape = self.about["documents"], self.about["width"]
        return np.memmap(self.folder / _VECTORS, self.about["dtype"], "r", shape=shape)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids of all documents."""
        return tuple(passage.id for passage in _written(self.folder))

    def document(self, place: int) -> Passage:
        """Read a document."""
        with (self.folder / _DOCUMENTS).open("rb") as file:
            file.seek(int(self._starts[place]))
            return Passage(**json.loads(file.readline()))

    def check_run(self, model: Model, run: Path) -> None:
        """Refuse a run that didn't build it.

        Raises:
            UserError: naming both.
        """
        if run_digest(model) != self.about["run_digest"]:
            raise UserError(
                f"{self.folder} is not an index of {run}, step {model.step}: it was "
                f"built by {self.about['run']}, step {self.about['step']}, with other "
                "parameters. Search with that run, or build the index again."
            )

    def search(
        self, queries: Sequence[str], depth: int, mesh: Mesh, model: Model | None = None
    ) -> Found:
        """Find the best documents of each query: places, -1 where there is none.

        Args:
            queries: texts.
            depth: how many to find, at most.
            mesh: devices that share the work.
            model: of the run that built it, where it is one of vectors.
        """
        if self.of_terms:
            fitted, tokenizer = self._terms
            asked = [terms_of(tokenizer, tokenizer.encode(text)) for text in queries]
            return best_by_terms(fitted, asked, depth)
        assert isinstance(model, NeuralModel)
        vectors = embed(model, queries, "query", mesh)
        return nearest_rows(vectors, self.vectors, depth, mesh)


def open_index(folder: Path) -> Index:
    """Open what `build_index` wrote.

    Raises:
        UserError: there is none, or it is damaged or of another version.
    """
    path = folder / _ABOUT
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"There is no index in {folder}: `index RUN CORPUS --out {folder}` builds "
            "one."
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}.") from error
    if about.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {about.get('format')}, and this version reads format "
            f"{FORMAT}. Build the index again."
        )
    _check_whole(folder, about)
    return Index(folder, about)


def _check_whole(folder: Path, about: dict[str, Any]) -> None:
    names = [_DOCUMENTS, "starts.npy"]
    names += [_TERMS, _TOKENIZER] if about["kind"] == "terms" else [_VECTORS]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise UserError(f"The index {folder} lacks {', '.join(missing)}.")
    if about["kind"] == "vectors":
        size = about["documents"] * about["width"] * np.dtype(about["dtype"]).itemsize
        found = (folder / _VECTORS).stat().st_size
        if found != size:
            raise UserError(
                f"{folder / _VECTORS} is damaged: it has {found:,} bytes, not {size:,}."
            )
