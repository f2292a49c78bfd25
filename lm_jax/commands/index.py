"""Index documents, so that they can be searched."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import tyro

from lm_jax.commands.as_json import print_json
from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.files import given_path
from lm_jax.folders import check_new
from lm_jax.mesh import make_mesh
from lm_jax.platform import called
from lm_jax.retrieval.index import Dtype, Index, build_index, check_ranks
from lm_jax.runs.directory import find_run
from lm_jax.runs.display import Display
from lm_jax.runs.model import load_model
from lm_jax.sharding import Sharding
from lm_jax.text.collection import read_documents


@dataclass(frozen=True)
class Options:
    """Read documents by a run, and write an index of them: `search` searches it.

    The run is of a bi-encoder, or of BM25, whose index has the terms of these
    documents. They are read one after the other: neither they nor their vectors need
    to fit into memory.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""
    corpus: Annotated[Path, tyro.conf.Positional]
    """The documents: "scifact" or "cranfield", a folder of BEIR's files, or a .jsonl
    file of {"_id", "title", "text"}."""
    out: str = ""
    """Directory of the index; it must be new."""
    step: int | None = None
    """Checkpoint to use; the best one if not given."""
    dtype: Dtype = "float32"
    """Of the vectors: "float16" needs half the room, and rounds."""
    json: bool = False
    """Print what index.json says."""


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "index", args)
    if not options.out:
        raise UserError("--out: give the directory that the index is to be written to.")
    run, out = find_run(options.run), given_path(options.out, "--out")
    check_new(out, "The index")
    aside = Display(0, sys.stderr)
    with aside.waiting(f"reading {run}, and indexing {options.corpus}"):
        model = load_model(run, options.step)
        check_ranks(model, run)
        index = build_index(
            model,
            run,
            read_documents(str(options.corpus)),
            out,
            make_mesh(Sharding(), jax.devices()),
            options.dtype,
            aside.work,
        )
    if options.json:
        print_json({"index": out, **index.about})
        return
    Display(0).header(str(out), _rows(index))
    Display(0).message(f"Next: {called()} search {out} 'QUERY'")


def _rows(index: Index) -> list[tuple[str, str]]:
    about = index.about
    held = about.get("statement") or (
        f"vectors of {about['width']} numbers, {about['dtype']}: "
        f"{index.vectors.nbytes:,} bytes"
    )
    return [
        ("documents", f"{about['documents']:,}"),
        ("built by", f"{about['run']}, step {about['step']}"),
        ("holds", held),
    ]
