"""A run becomes a Hugging Face folder, or an ARPA file where it has n-grams."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from lm_jax.adapting import dequantized, is_quantized
from lm_jax.counting import FittedNGram
from lm_jax.counting.scratch import Progress
from lm_jax.data import Frame
from lm_jax.errors import UserError, nearest
from lm_jax.exchange.architecture import Architecture, Shapes, canonical, shapes_of
from lm_jax.exchange.arpa_writing import write_arpa
from lm_jax.exchange.fields import Unheld
from lm_jax.exchange.files import WHOLE
from lm_jax.exchange.known import ARCHITECTURES
from lm_jax.exchange.rows import fitting
from lm_jax.exchange.tokenizer_json import write_tokenizer
from lm_jax.files import atomic_write, given_path, writing
from lm_jax.folders import check_new, whole_folder
from lm_jax.models import Encoder, EncoderDecoder, Transformer
from lm_jax.runs.directory import find_run
from lm_jax.runs.model import CountedModel, load_model

_PER_TOKEN = ("embedding", "lm_head/kernel", "lm_head_bias")


class Exported(NamedTuple):
    """What was written.

    Attributes:
        architecture: the class of transformers, or ARPA.
        notes: what differs from the run's own parameters, in sentences.
    """

    architecture: str
    notes: list[str]


def export_run(
    run: Path | str,
    path: Path | str,
    step: int | None = None,
    architecture: str = "",
    progress: Progress | None = None,
) -> Exported:
    """Write a run as a folder that transformers loads; n-grams as an ARPA file.

    Args:
        run: its directory.
        path: a new folder, or a new file.
        step: of the checkpoint; None takes the best one.
        architecture: "model_type" of transformers; the first that holds the model, if
            not given.
        progress: told (description, n-grams written, n-grams in all).

    Raises:
        UserError: no architecture of transformers holds the model; with the field. A
            folder is there. Nothing is written then.
    """
    path = given_path(path, "The folder")
    check_new(path, "The folder")
    loaded = load_model(find_run(given_path(run, "The run's directory")), step)
    if isinstance(loaded, CountedModel):
        if isinstance(loaded.fitted, FittedNGram):
            write_arpa(loaded.fitted, loaded.tokenizer, path, progress)
            return Exported("ARPA", [])
        raise UserError(
            f"{run} was fitted by counting: transformers has no such model."
        )
    size = loaded.tokenizer.vocab_size
    model, notes = loaded.model, []
    if model.vocab_size > size:
        notes.append(
            f"The vocabulary is trimmed from {model.vocab_size:,} to the {size:,} ids "
            "that are tokens."
        )
        model = model.clone(vocab_size=size)
    if is_quantized(loaded.params):
        notes.append(
            "Quantized weights are written as the float32 that they stand for."
        )
    params = jax.device_get(dequantized(loaded.params))
    params = flatten_dict(params, sep="/")
    context = loaded.context
    found = architecture_for(model, context, architecture)
    with whole_folder(path) as folder:
        said = write_tokenizer(loaded.tokenizer, folder, context, notes)
        said |= _around(found.architecture, loaded.frame, said, notes)
        _check_padding(found, said)
        notes += write_checkpoint(folder, found, params, said)
    return Exported(found.architecture.heads, notes)


def _around(
    architecture: Architecture,
    frame: Frame | None,
    said: Mapping[str, Any],
    notes: list[str],
) -> dict[str, Any]:
    """What config.json is to say of the tokens around sources and targets."""
    if frame is None or architecture.frame is None:
        return {}
    roles = {
        "decoder_start": frame.start[:1],
        "forced_bos": frame.start[1:],
        "eos": () if frame.end is None else (frame.end,),
        "bos": frame.before,
    }
    ids = {f"{role}_token_id": found[0] for role, found in roles.items() if found}
    ids["pad_token_id"] = said.get("pad_token_id", frame.start[0])
    if architecture.frame({**said, **ids}) != frame:
        notes.append(
            f"{architecture.heads} puts other tokens around texts than the run, whose "
            f"sources come after {list(frame.before)} and before {list(frame.after)}, "
            f"and targets after {list(frame.start)} and before {frame.end}."
        )
    return ids


def _check_padding(found: "Fitting", said: Mapping[str, Any]) -> None:
    """See that what an architecture takes for padding is no token of text.

    Raises:
        UserError: RoBERTa counts positions without that token.
    """
    wanted = found.config.get("pad_token_id")
    if wanted is not None and said.get("pad_token_id") != wanted:
        raise UserError(
            f"{found.architecture.name} takes token {wanted} for padding, and this "
            "tokenizer has another there."
        )


class Fitting(NamedTuple):
    """An architecture that holds a model.

    Attributes:
        architecture: of transformers.
        model: as it has it.
        config: what its config.json says.
    """

    architecture: Architecture
    model: Any
    config: dict[str, Any]


def write_checkpoint(
    folder: Path,
    found: Fitting,
    params: Mapping[str, np.ndarray],
    said: Mapping[str, Any],
) -> list[str]:
    """Write config.json and model.safetensors.

    Args:
        folder: to write into.
        found: the architecture, by `architecture_for`.
        params: of the model, by path.
        said: what else config.json is to say.

    Returns:
        What differs from the parameters, in sentences.
    """
    arrays, zeros = _arrays(found.architecture, found.model, params)
    document = {**said, **found.config, "dtype": "float32"}
    atomic_write(folder / "config.json", json.dumps(document, indent=2) + "\n")
    with writing(folder / WHOLE):
        save_file(arrays, folder / WHOLE, {"format": "pt"})
    if not zeros:
        return []
    what = "biases" if zeros[0].endswith("bias") else "kinds of sentences"
    return [f"Zeros stand for the {what} that the model hasn't."]


def architecture_for(model: Any, context: int, name: str = "") -> Fitting:
    """Find an architecture that holds a model.

    A model without biases is one with biases of zero, and an encoder without kinds of
    sentences one with a single kind, whose vector is zero.

    Args:
        model: ours.
        context: tokens that it may see.
        name: the one that it is to be; any that holds it, if not given.

    Raises:
        UserError: there is none; with the field that each lacks.
    """
    if type(model) not in (Transformer, Encoder, EncoderDecoder):
        raise UserError(
            f"transformers has no architecture for a {type(model).__name__}: only "
            "Transformer, Encoder and EncoderDecoder are written."
        )
    if name and name not in ARCHITECTURES:
        raise UserError(
            f"There is no architecture '{name}'.{nearest(name, ARCHITECTURES)}"
        )
    lacking: dict[str, str] = {}
    for candidate in (canonical(model), _widened(canonical(model))):
        for each in [ARCHITECTURES[name]] if name else ARCHITECTURES.values():
            try:
                return Fitting(each, candidate, each.write(candidate, context))
            except Unheld as unheld:
                if each.model is type(model) or name:
                    lacking.setdefault(each.name, str(unheld))
    lines = [
        f"  {name}: {_said(model, field)}" for name, field in sorted(lacking.items())
    ]
    raise UserError(
        "No architecture of transformers that is known here holds this model. What "
        "is in the way of each:\n" + "\n".join(lines)
    )


def _widened(model: Any) -> Any:
    """The model that computes the same with biases, and kinds of sentences, of zero."""
    wide = model.clone(use_bias=True, qkv_bias=True)
    if isinstance(model, Encoder) and not model.segment_types:
        wide = wide.clone(segment_types=1)
    return wide


def _said(model: Any, names: str) -> str:
    """Fields of a model, with their values."""
    found = []
    for name in names.split(", "):
        value = model
        for part in name.split("."):
            value = getattr(value, part, None)
        found.append(f"model.{name}={value}")
    return ", ".join(found)


def _arrays(
    architecture: Architecture, model: Any, params: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Arrays of theirs by name, and the parameters that are zeros in them."""
    shapes: Shapes = {
        path: shape
        for path, shape in shapes_of(model).items()
        if path in params or not path.startswith(architecture.optional or "\0")
    }
    rows = list(fitting(architecture.rows, shapes, model))
    written = {path for row in rows for path in row.ours}
    if left := sorted(set(params) - written):
        raise UserError(f"{architecture.heads} has no place for {', '.join(left)}.")
    zeros = sorted(written - set(params))
    assert all(z.endswith("/bias") or z == "types/embedding" for z in zeros), zeros
    arrays: dict[str, np.ndarray] = {}
    for row in rows:
        ours = [_sized(params, path, shapes[path]) for path in row.ours]
        made = row.way.write(ours, model)
        arrays |= {
            name: np.ascontiguousarray(array, np.float32)
            for name, array in zip(row.theirs, made, strict=True)
        }
    return arrays, zeros


def _sized(
    params: Mapping[str, np.ndarray], path: str, shape: tuple[int, ...]
) -> np.ndarray:
    """A parameter, without what no token has; zeros where there is none."""
    if path not in params:
        return np.zeros(shape, np.float32)
    array = params[path]
    if path in _PER_TOKEN:
        array = array[tuple(slice(size) for size in shape)]
    assert array.shape == shape, f"{path}: {array.shape}, not {shape}"
    return array
