"""The fields of an experiment that can be typed, and the one that was meant."""

import dataclasses
import difflib
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lm_jax.command_line import Flag, flag_of, take
from lm_jax.experiment.kinds import annotation, annotations, at, kinds_at
from lm_jax.experiment.leaves import fields
from lm_jax.experiment.value import AnyExperiment, Execution

# What other programs call a field. "epochs" and "steps" are units of a budget.
_ELSEWHERE = {
    "schedule.peak": "lr learning_rate max_lr peak_lr learningrate",
    "batch": "bs batch_size batchsize train_batch_size per_device_train_batch_size",
    "budget": "epochs num_epochs num_train_epochs steps max_steps iters max_iters "
    "num_steps iterations epoch step",
    "model.layers": "n_layer n_layers num_layers depth num_hidden_layers",
    "model.heads": "n_head n_heads num_heads num_attention_heads",
    "model.width": "n_embd d_model dim hidden hidden_size emsize embedding_dim nhid",
    "data.context": "block_size seq_len seq_length bptt max_length context_length ctx",
    "optimizer.weight_decay": "wd decay",
    "optimizer.clip": "grad_clip clip_grad max_grad_norm gradient_clip",
    "optimizer.b1": "beta1",
    "optimizer.b2": "beta2",
    "schedule.warmup": "warmup_steps warmup_iters num_warmup_steps",
    "data.corpus.source": "data dataset data_path data_dir corpus text file input",
    "model.dtype": "precision fp16 bf16 bfloat16 amp",
    "execution.accumulate": "grad_accum gradient_accumulation_steps accumulation",
    "outputs": "wandb tensorboard mlflow logger",
    "run": "out out_dir output output_dir save save_dir logdir log_dir",
    "from": "init_from resume checkpoint ckpt pretrained load",
}

# And beside the field, where the rest of its name was typed.
_BESIDE = {"data.corpus.source": "name path dir folder"}


def short_names(experiment: AnyExperiment) -> dict[str, str]:
    """The fields of an execution by their last name: {"fsdp": "execution...fsdp"}."""
    names = {field.name for field in dataclasses.fields(experiment)}
    if "execution" not in names:
        return {}
    paths = [f"execution.{'.'.join(path)}" for path in _paths(Execution())]
    short = {path.split(".")[-1]: path for path in paths}
    return {name: path for name, path in short.items() if name not in names}


def _paths(root: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all fields that words change, and of those that take a kind."""
    value = at(root, above)
    entries = (
        list(value.items())
        if isinstance(value, Mapping)
        else [(field.name, getattr(value, field.name)) for field in fields(value)]
    )
    for name, inner in entries:
        path = (*above, str(name))
        held = dataclasses.is_dataclass(inner) or isinstance(inner, Mapping)
        if not held or kinds_at(root, path):
            yield path
        if held:
            yield from _paths(root, path)


def kind_fields(experiment: AnyExperiment) -> Iterator[tuple[str, list[str]]]:
    """The flags that take the name of a kind, each with the kinds."""
    for path in _paths(experiment):
        if kinds := kinds_at(experiment, path):
            yield flag_of(path), list(kinds)


def unknown_field(
    experiment: AnyExperiment,
    typed: Flag,
    path: tuple[str, ...],
    others: Iterable[str] = (),
) -> str:
    """Say that there is no such field, and which may have been meant.

    Args:
        experiment: whose fields there are.
        typed: what was typed.
        path: the field that it would be.
        others: options that are there beside the fields.
    """
    said = f"There is no field --{typed.name}."
    above = flag_of(path[:-1])
    if kinds := _kinds_with(experiment, path):
        held = at(experiment, path[:-1])
        options = " or ".join(f"{above} {kind}" for kind in kinds)
        now = "is None" if held is None else f"holds {type(held).__name__}"
        return f"{said} {above} {now} now; {options} has it."
    value = "".join(f" {shlex.quote(word)}" for word in typed.words)
    guesses = _guesses(experiment, typed, path, others)
    if guesses == ["budget"] and typed.words and typed.words[0].isdigit():
        unit = "epochs" if "epoch" in typed.name else "steps"
        value = f" '{typed.words[0]} {unit}'"
    flags = [flag_of(guess.split(".")) + value for guess in guesses]
    if flags:
        return f"{said} Did you mean {' or '.join(flags)}?"
    own = [
        name.split(".")[-1] for name in _beside(map(".".join, _paths(experiment)), path)
    ]
    return f"{said} {above} has {', '.join(own)}." if own else said


def _beside(names: Iterable[str], path: tuple[str, ...]) -> list[str]:
    """The dotted names that differ from a path in the last part alone."""
    return [n for n in names if len(path) > 1 and n.split(".")[:-1] == [*path[:-1]]]


def _kinds_with(experiment: AnyExperiment, path: tuple[str, ...]) -> list[str]:
    """The kinds that a value might be, in place of its own, to have a field."""
    holder = at(experiment, path[:-2])
    if len(path) < 2 or (isinstance(holder, Mapping) and path[-2] not in holder):
        return []
    return [
        name
        for name, kind in kinds_at(experiment, path[:-1]).items()
        if dataclasses.is_dataclass(kind) and path[-1] in annotations(kind)
    ]


def _guesses(
    experiment: AnyExperiment,
    typed: Flag,
    path: tuple[str, ...],
    others: Iterable[str],
) -> list[str]:
    """The dotted names that may have been meant, three at most, likeliest first."""
    names = [".".join(path) for path in _paths(experiment)]
    names += [*others, *short_names(experiment)]
    wanted, last = ".".join(path), path[-1]
    if len(path) == 1:
        meant = [n for n, habits in _ELSEWHERE.items() if last in habits.split()]
        meant += [name for name in names if name.split(".")[-1] == last]
        if meant := [name for name in meant if name in names]:
            fitting = [name for name in meant if _takes(experiment, name, typed)]
            return (fitting or meant)[:3]
    beside = _beside(names, path)
    habits = {n: f"{_ELSEWHERE.get(n, '')} {_BESIDE.get(n, '')}" for n in beside}
    meant = [n for n in beside if last in habits[n].split()]
    if meant or not beside:
        return meant or _alike(wanted, last, names)
    # What is beside it shares all but the last name, and that isn't why it is meant.
    own = {name.split(".")[-1]: name for name in beside}
    close = difflib.get_close_matches(last, own, 1, 0.6)
    return [own[name] for name in close] or _ending_like(last, names)


def _alike(wanted: str, last: str, names: list[str]) -> list[str]:
    """The names like a whole one, or else that end like it."""
    if close := difflib.get_close_matches(wanted, names, 1, 0.75):
        return close
    found = _ending_like(last, names)
    return found or difflib.get_close_matches(wanted, names, 1, 0.5)


def _ending_like(last: str, names: list[str]) -> list[str]:
    """The names whose last part is like one, three at most."""
    by_end: dict[str, list[str]] = {}
    for name in names:
        by_end.setdefault(name.split(".")[-1], []).append(name)
    ends = difflib.get_close_matches(last, by_end, 3, 0.7)
    return [name for end in ends for name in by_end[end]][:3]


def _takes(experiment: AnyExperiment, name: str, typed: Flag) -> bool:
    """Whether a field takes the words that were typed."""
    try:
        return not take(annotation(experiment, tuple(name.split("."))), typed.words)[1]
    except ValueError:
        return False
