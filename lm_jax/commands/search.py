"""Search an index, or see how well it answers the queries of a collection."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import jax
import tyro

from lm_jax.bounds import check, within
from lm_jax.commands.as_json import print_json
from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.files import given_path
from lm_jax.mesh import make_mesh
from lm_jax.retrieval.hybrid import Hit, Searcher, Tuned, open_searcher, tune
from lm_jax.runs.display import Display
from lm_jax.sharding import Sharding
from lm_jax.text.collection import Collection, Judged, read_collection
from lm_jax.text.rankings import write_rankings

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Options:
    """Find the documents of an index that answer a query best.

    With a second index of the same documents both rankings are fused by reciprocal
    ranks (Cormack et al. 2009). With --collection all queries of a split are searched
    and scored, as `evaluate` does.
    """

    index: Annotated[Path, tyro.conf.Positional]
    """Directory that `index` wrote."""
    query: Annotated[str, tyro.conf.Positional] = ""
    """What to look for, quoted."""
    depth: int = within("[1, 10000]", 10)
    """Documents to find."""
    run: str = ""
    """Where the run lies now that built the index of vectors; as then, if not given."""
    other: str = ""
    """A second index of the same documents, to be fused with."""
    weight: float | None = within("[0, 1]", None)
    """Of the second index; 0.5 if not given."""
    collection: str = ""
    """Queries with judgements in place of one: "scifact", "cranfield" or a folder."""
    split: Split = "validation"
    """Of the queries. Look at "test" once, when everything is fixed."""
    validation: float = Collection().validation
    """Share of validation, where the collection has none: as in training."""
    test: float = Collection().test
    """Share of the test, where the collection has no splits."""
    tune: Literal["", "train", "validation"] = ""
    """Choose --weight by nDCG@10 on this split first; best on queries that no model
    was trained on."""
    write: str = ""
    """File for the rankings of the queries, in TREC's form: 1000 of each."""
    json: bool = False
    """Print {"index", "query", "documents": [{"rank", "id", "score", "title",
    "text"}]}; with --collection {"index", "split", "weight", "scores"}."""

    def __post_init__(self) -> None:
        """Refuse what says nothing to search, or two things."""
        check(self, "search")
        if bool(self.query.strip()) == bool(self.collection):
            raise UserError(
                "search: give a query, quoted, or --collection with queries of its own."
            )
        if self.weight is not None and (self.tune or not self.other):
            raise UserError(
                "--weight is of the second index, where --tune doesn't choose it: "
                + ("leave one of them out." if self.tune else "give --other.")
            )
        if self.tune and not (self.other and self.collection):
            raise UserError("--tune chooses a weight: give --other and --collection.")
        if self.write and not self.collection:
            raise UserError("--write is of the queries of a --collection.")

    @property
    def of_second(self) -> float:
        """The weight of the second index, where none is chosen."""
        return 0.5 if self.weight is None else self.weight


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "search", args)
    mesh, aside = make_mesh(Sharding(), jax.devices()), Display(0, sys.stderr)
    with aside.waiting(f"reading {options.index}"):
        folders = [given_path(options.index, "INDEX")]
        folders += [given_path(options.other, "--other")] if options.other else []
        run = given_path(options.run, "--run") if options.run else None
        searcher = open_searcher(folders, mesh, run)
        if options.collection:
            made = _judge(options, searcher)
        else:
            (hits,) = searcher.hits([options.query], options.depth, options.of_second)
    if options.collection:
        tuned, scores = made
        _show_scores(options, tuned, scores)
    elif options.json:
        rows = [hit._asdict() for hit in hits]
        print_json({"index": options.index, "query": options.query, "documents": rows})
    else:
        _show(hits, options.query)


def _judge(
    options: Options, searcher: Searcher
) -> tuple[Tuned | None, dict[str, dict[str, float]]]:
    """Score the queries of a split, with a weight that was chosen on another."""
    judged = read_collection(
        Collection(options.collection, validation=options.validation, test=options.test)
    )
    tuned = None
    weights = [options.of_second]
    if options.tune:
        tuned = tune(searcher, judged, _there(judged, options.tune))
        weights = [0.0, 0.5, 1.0, tuned.weight]
    split = _there(judged, options.split)
    found = searcher.judge(judged, split, weights)
    if options.write:
        file = given_path(options.write, "--write")
        write_rankings(file, searcher.ranked(judged.queries[split], weights[-1]))
    return tuned, found


def _there(judged: Judged, split: str) -> str:
    if split not in judged.queries:
        raise UserError(
            f"The split '{split}' has no queries: there is {', '.join(judged.queries)}."
        )
    return split


def _show(hits: Sequence[Hit], query: str) -> None:
    """Print a document a row: its rank, score, title and the beginning of its text."""
    if not hits:
        Display(0).message("Nothing is found: no document has a term of the query.")
        return
    print(f"{'rank':>4}  {'score':>8}  document")
    for hit in hits:
        print(f"{hit.rank:>4}  {hit.score:>8.4f}  {_cut(f'{hit.id}: {hit.title}', 62)}")
        if hit.text:
            print(f"{'':16}{_cut(hit.text, 62)}")


def _cut(text: str, room: int) -> str:
    """Give a text on one line of so many columns, marks that a terminal obeys left out.

    A character of two columns counts as two.
    """
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    if _width(line) <= room:
        return line
    while _width(line) > room - 3:
        line = line[:-1]
    return f"{line}..."


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _show_scores(
    options: Options, tuned: Tuned | None, scores: dict[str, dict[str, float]]
) -> None:
    if options.json:
        weight = tuned.weight if tuned else options.of_second
        what = {"index": options.index, "other": options.other, "split": options.split}
        print_json({**what, "weight": weight, "scores": scores})
        return
    rows = []
    if tuned is not None:
        chosen = f"{tuned.weight:g}, nDCG@10 {tuned.score:.4f} on {options.tune}"
        rows.append(("weight", f"{chosen} ({tuned.queries:,} queries)"))
    for name, of in scores.items():
        told = ", ".join(f"{score} {value:.4f}" for score, value in of.items())
        rows.append((name, told))
    Display(0).header(f"{options.collection}, {options.split} split", rows)
