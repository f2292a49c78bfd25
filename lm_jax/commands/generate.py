"""Let a trained model continue a prompt."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from lm_jax.commands.options import read_options
from lm_jax.commands.told import prompt_of
from lm_jax.errors import UserError
from lm_jax.generation import (
    Beam,
    Choices,
    Constraint,
    Contrastive,
    Regex,
    Sampling,
    Schema,
)
from lm_jax.runs.directory import find_run
from lm_jax.runs.display import Display
from lm_jax.runs.drafting import Drafted
from lm_jax.runs.model import load_model
from lm_jax.runs.prompts import as_line, read_prompts, read_text
from lm_jax.runs.writing import Search, Texts, Written, whole_or_raise, write_all


@dataclass(frozen=True)
class Options:
    """Let a trained model continue one or more prompts of any length.

    The run's directory is all that is needed: no corpus, no cache. To a model that
    writes a text from another one, prompts are what it reads.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""
    prompt: tuple[str, ...] = ()
    """Text to continue, one or more; the prompt of the run's samples if not given.
    Where the training text is many documents, it begins one."""
    prompts: Path | None = None
    """File of prompts, one a line; .jsonl has objects with a "prompt". For each, one
    line of JSON is printed: of an empty one, how a text begins (of an empty source, an
    empty text). Of one that is too long, the end is read (of a source, the beginning).
    """
    length: int = 500
    """Tokens to generate for each prompt, at most."""
    sampling: Annotated[Sampling, tyro.conf.arg(name="")] = Sampling(temperature=0.8)
    """How each token is drawn."""
    beam: Beam = Beam(size=0)
    """Searches for likely texts instead, with a size from 1. Of the above, only what
    the text so far changes acts then: repetition, frequency, presence, n-grams."""
    contrastive: Contrastive = Contrastive(candidates=0)
    """Takes of so many likely tokens the one that is likely and new to the text."""
    stop: tuple[str, ...] = ()
    """A text ends before the first of these strings in it."""
    choices: tuple[str, ...] = ()
    """The new text is one of these. Whatever constrains it needs the extra
    `constraints`."""
    choices_from: Path | None = None
    """It is a line of this file."""
    regex: str | None = None
    """It matches this expression, as a whole."""
    schema: Path | None = None
    """It is JSON that fits the JSON schema in this file."""
    to_end: bool = False
    """End where a document does, and don't begin another."""
    json: bool = False
    """Print a line of JSON for each prompt: text, tokens, their log-probabilities
    before penalties, temperature and cuts, and why it ended."""
    stream: bool | None = None
    """Print the text of one prompt as it is made; if not given, on a terminal."""
    seed: int = 0
    """Another seed draws another text."""
    step: int | None = None
    """Checkpoint to use; the best one if not given."""
    draft: Path | None = None
    """Run of a small model of the same tokenizer that proposes tokens: the texts are
    the large model's, sooner. Prompt and new tokens must fit into both contexts."""


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "generate", args)
    beam, constraint = _search(options), _constraint(options)
    if options.prompt and options.prompts:
        raise UserError("Give --prompt or --prompts, not both.")
    given = read_prompts(options.prompts) if options.prompts else options.prompt
    as_json = options.json or options.prompts is not None
    streams = _streams(options, beam is None and not as_json)
    run = find_run(options.run)
    with Display(0, sys.stderr).waiting(f"reading {run}, and compiling"):
        loaded = load_model(run, options.step)
        model: Texts = loaded
        if options.draft is not None:
            model = Drafted.of(model, load_model(find_run(options.draft)))
        how: dict[str, Any] = {"beam": beam, "stop": options.stop}
        how |= {"to_end": options.to_end, "constraint": constraint}
        prompts: Sequence[str | None] = given
        if options.prompts is None:
            prompts = given or (prompt_of(model.experiment),)
        unknown = _unknown(model, prompts)
        if not streams:
            found = _written(model, prompts, options, how)
    aside = Display(0, sys.stderr)
    step = loaded.step if loaded.experiment.in_steps else None
    aside.message(_settings(options, beam, step))
    if unknown:
        aside.message(unknown)
    if streams:
        found = _stream(model, prompts, options, how)
    elif as_json:
        print(*map(as_line, found), sep="\n", end="\n" if found else "")
    else:
        _print(model, found)
    if constraint is not None and not as_json:
        whole_or_raise(found, options.length)
    cut = sum(best.finish_reason == "length" for best, *_ in found)
    if options.stop and cut:
        aside.message(
            f"No stop string came in {cut} of {len(found)} texts: they are cut off "
            f"after {options.length} tokens."
        )


# What acts on drawn tokens alone, and not on a search.
_DRAWN = {"temperature", "top_k", "top_p", "min_p", "typical"}


def _settings(options: Options, search: Search | None, step: int | None) -> str:
    """Say how texts are made: what is set, and where each setting came from."""
    plain, drawn = Options(options.run), options.sampling
    names = [field.name for field in fields(Sampling)]
    changed = [n for n in names if getattr(drawn, n) != getattr(Sampling(), n)]
    if search is None:
        changed = [*dict.fromkeys(["temperature", *changed])]
        parts = _told(drawn, plain.sampling, changed)
    else:
        usual = plain.beam if isinstance(search, Beam) else plain.contrastive
        parts = _told(search, usual, [field.name for field in fields(search)])
        changed = [name for name in changed if name not in _DRAWN]
        parts += _told(drawn, plain.sampling, changed)
    parts += _told(options, plain, ["length", "seed"])
    if step is not None:
        parts.append(f"step {step} ({'the best' if options.step is None else 'given'})")
    if not (options.prompt or options.prompts):
        parts.append("the prompt of the run's samples")
    return f"Settings: {', '.join(parts)}."


def _told(mine: Any, usual: Any, names: Sequence[str]) -> list[str]:
    """Fields by name and value, each with where it came from."""
    values = [(n, getattr(mine, n), getattr(usual, n)) for n in names]
    return [f"{n} {v} ({'default' if v == u else 'given'})" for n, v, u in values]


def _streams(options: Options, may: bool) -> bool:
    """Whether the text is printed as it is made.

    Args:
        options: of the command.
        may: whether it is printed as a text, and no search finds it.

    Raises:
        UserError: it was asked for, and can't be.
    """
    may = may and len(options.prompt) < 2 and options.draft is None
    if options.stream and not may:
        raise UserError(
            "--stream prints one text as it is drawn: give one --prompt, and leave "
            "--prompts, --json, searches and --draft out."
        )
    return may and (sys.stdout.isatty() if options.stream is None else options.stream)


def _constraint(options: Options) -> Constraint | None:
    """What the new text is to be."""
    given: list[Constraint] = []
    if options.choices:
        given.append(Choices(options.choices))
    if options.choices_from is not None:
        lines = read_text(options.choices_from, "--choices-from").split("\n")
        given.append(Choices(tuple(filter(None, lines))))
    if options.regex is not None:
        given.append(Regex(options.regex))
    if options.schema is not None:
        given.append(Schema(read_text(options.schema, "--schema")))
    if len(given) > 1:
        raise UserError("Give one of --choices, --choices-from, --regex and --schema.")
    return given[0] if given else None


def _search(options: Options) -> Search | None:
    """The search that is asked for."""
    found: list[Search] = []
    if options.beam.size:
        found.append(options.beam)
    elif options.beam != Beam(size=0):
        raise UserError("Fields of --beam need --beam.size, from 1.")
    if options.contrastive.candidates:
        found.append(options.contrastive)
    elif options.contrastive != Contrastive(candidates=0):
        raise UserError("--contrastive.alpha needs --contrastive.candidates, from 1.")
    if len(found) > 1:
        raise UserError("Give --beam or --contrastive, not both.")
    return found[0] if found else None


def _written(
    model: Texts,
    prompts: Sequence[str | None],
    options: Options,
    how: dict[str, Any],
) -> list[list[Written]]:
    """What is written; an empty --prompt is refused, and one of a file is not."""
    if options.prompts is not None:
        write: Callable = write_all
        return write(model, prompts, *_drawn(options), **how)
    return model.write(prompts, *_drawn(options), **how)


def _unknown(model: Texts, prompts: Sequence[str | None]) -> str:
    """Say where the model reads something else than was typed; "" where it doesn't."""
    lost = model.tokenizer.unknown_id
    if lost is None:
        return ""
    counts = {
        number: int((model.tokenizer.encode(text) == lost).sum())
        for number, text in enumerate(prompts, 1)
        if text
    }
    which = [str(number) for number, count in counts.items() if count]
    if not which:
        return ""
    where = f" of prompts {', '.join(which[:5])}" if len(prompts) > 1 else ""
    return (
        f"{sum(counts.values())} tokens{where} are not in its vocabulary: it reads "
        f"{model.tokenizer.symbols([lost])[0]} there."
    )


def _drawn(options: Options) -> tuple[int, Sampling, int]:
    return options.length, options.sampling, options.seed


def _stream(
    model: Texts,
    prompts: Sequence[str | None],
    options: Options,
    how: dict[str, Any],
) -> list[list[Written]]:
    """Print a text as it is made."""
    shown = ""

    def show(text: str) -> None:
        nonlocal shown
        print(text[len(shown) :], end="", flush=True)
        shown = text

    def told(texts: Sequence[str]) -> None:
        before = "" if model.from_sources else model.canonical(prompts[0])
        show(before + texts[0])

    ((found,),) = model.write(prompts, *_drawn(options), **how, told=told)
    show(_whole(model, found))
    print()
    return [[found]]


def _print(model: Texts, found: list[list[Written]]) -> None:
    """Print texts, with a title each where there are several."""
    for number, texts in enumerate(found, 1):
        for place, text in enumerate(texts, 1):
            title = f"prompt {number}" if len(found) > 1 else ""
            if len(texts) > 1:
                title = f"{title} best {place}, score {text.score:.4f}".strip()
            if title:
                print(f"--- {title} ---")
            print(_whole(model, text))


def _whole(model: Texts, found: Written) -> str:
    return found.text if model.from_sources else found.prompt + found.text
