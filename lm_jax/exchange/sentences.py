"""Models of sentences, as the library sentence-transformers keeps them."""

import json
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError
from lm_jax.exchange.files import read_json
from lm_jax.files import near
from lm_jax.models import BiEncoder, First, Last, Max, Mean
from lm_jax.models.pooling import Pool

MODULES = "modules.json"
_SETTINGS = "config_sentence_transformers.json"
_POOLS: dict[str, Pool] = {
    "mean": Mean(),
    "cls": First(),
    "max": Max(),
    "lasttoken": Last(),
}
# What older files say in the place of "pooling_mode".
_MODES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}


def bi_encoder(folder: Path, body: Any) -> BiEncoder:
    """Give the model of sentences that a folder holds, around its body.

    Args:
        folder: with modules.json beside config.json.
        body: of it.

    Raises:
        UserError: it has a module beside body, pooling and lengths of 1; or pools
            or compares in a way that ours don't.
    """
    try:
        modules = json.loads((folder / MODULES).read_text(encoding="utf-8"))
        kinds = {each["type"].rsplit(".", 1)[-1]: each["path"] for each in modules}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{near(folder / MODULES)} can't be read: {error!r}.") from None
    if unknown := sorted(kinds.keys() - {"Transformer", "Pooling", "Normalize"}):
        raise UserError(
            f"{near(folder / MODULES)} has a module {unknown[0]}, and ours have a "
            "body, a pool and vectors of length 1, no more."
        )
    said = read_json(folder / kinds.get("Pooling", "") / "config.json")
    modes = [mode for key, mode in _MODES.items() if said.get(key)]
    modes = [said["pooling_mode"]] if "pooling_mode" in said else modes
    if len(modes) != 1 or modes[0] not in _POOLS:
        raise UserError(
            f"{near(folder)} pools by {' and '.join(modes) or 'what is not said'}, and "
            f"ours by one of {', '.join(_POOLS)}."
        )
    alike = _settings(folder, _SETTINGS).get("similarity_fn_name") or "cosine"
    if alike not in ("cosine", "dot"):
        raise UserError(
            f"{near(folder / _SETTINGS)} compares vectors by {alike}, and ours are "
            "compared by cosine or dot."
        )
    dot = "Normalize" not in kinds and alike == "dot"
    return BiEncoder(body, _POOLS[modes[0]], similarity="product" if dot else "cosine")


def longest(folder: Path, context: int) -> int:
    """Give the tokens of a text that are read, of so many that the body can read."""
    said = _settings(folder, "sentence_bert_config.json").get("max_seq_length")
    return min(context, said or context)


def prompts(folder: Path) -> list[str]:
    """Say which words texts begin with there, which are not put before ours."""
    of = _settings(folder, _SETTINGS).get("prompts") or {}
    return [
        f"the prompt {text!r} before a {name}: write it before your texts"
        for name, text in of.items()
        if text
    ]


def _settings(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    return read_json(path) if path.exists() else {}
