"""A run as a model of lm-evaluation-harness, and its tasks (extra ``tasks``)."""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lm_jax.errors import UserError, nearest
from lm_jax.generation import Sampling
from lm_jax.inspection.formulations import formulation_of
from lm_jax.inspection.queries import Query, answer
from lm_jax.platform import from_extra
from lm_jax.runs.model import CountedModel, NeuralModel
from lm_jax.tokenizers.trained import beginning, opened, prompted

try:
    from lm_eval import simple_evaluate
    from lm_eval.api.model import TemplateLM
    from lm_eval.tasks import TaskManager
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
except ImportError as error:
    raise UserError(
        f"--tasks needs lm-evaluation-harness ({error}): {from_extra('tasks')}"
    ) from error

_TOGETHER = 16  # prompts that are continued together
_LENGTH = 256  # tokens that a task without its own limit may have, as in the harness


class HarnessModel(TemplateLM):
    """What the harness asks of a model: log-likelihoods, and continued texts.

    A text begins after what texts begin after in training; a context that is too long
    loses its beginning. A text that is scored by itself, or a continuation, and is
    longer than the model's context is read in the harness' own windows.

    Args:
        model: that continues texts, of any family.
        seed: of what is drawn, where a task asks for that.

    Raises:
        UserError: the model predicts no next token.
    """

    def __init__(self, model: NeuralModel | CountedModel, seed: int = 0):
        super().__init__()
        formulation_of(model, "log-likelihood")
        self._model, self._seed = model, seed

    @property
    def eot_token_id(self) -> int:
        """What a text begins after, and ends with."""
        return int(beginning(self._model.tokenizer)[0])

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """Give the tokens of a text, with nothing around it."""
        return self._model.tokenizer.encode(string).tolist()

    def _encode_pair(
        self, context: str, continuation: str
    ) -> tuple[list[int], list[int]]:
        """Give the tokens of a context, as a text begins, and of what follows it."""
        before, after = super()._encode_pair(context, continuation)
        return opened(self._model.tokenizer, before).tolist(), after

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        """Give ln p of each continuation, and whether each of its tokens is likeliest.

        Args:
            requests: (what they are of, tokens of the context, of the continuation).
        """
        owners, queries = [], []
        for number, (_, context, continuation) in enumerate(requests):
            for part in self._windows(context, continuation):
                owners.append(number)
                queries.append(self._query(*part))
        found = [(0.0, True)] * len(requests)
        for number, each in zip(owners, answer(self._model, queries), strict=True):
            total, likeliest = found[number]
            total += float(each.log_probabilities.astype(np.float64).sum())
            found[number] = (total, likeliest and bool((each.ranks == 1).all()))
        for request, result in zip(requests, found, strict=True):
            if request[0] is not None:
                self.cache_hook.add_partial("loglikelihood", request[0], result)
        return found

    def _windows(
        self, context: list[int], continuation: list[int]
    ) -> list[tuple[list[int], list[int]]]:
        """Cut a continuation that the model can't read at once; no token is lost."""
        most = self._model.longest
        if most is None or len(continuation) <= most:
            return [(context, continuation)] if continuation else []
        windows = get_rolling_token_windows(continuation, context[-1], most, 1)
        return [make_disjoint_window(pair) for pair in windows]

    def _query(self, context: list[int], continuation: list[int]) -> Query:
        most = self._model.longest
        whole = np.array([*context, *continuation], np.int32)
        whole = whole if most is None else whole[-(most + 1) :]
        asked = min(len(continuation), len(whole) - 1)
        places = np.arange(len(whole) - 1)[-asked:]
        return Query(whole[:-1], places, whole[-asked:])

    def loglikelihood_rolling(
        self, requests: list[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """Give ln p of whole texts.

        Args:
            requests: with the text as their one argument.
            disable_tqdm: not looked at.
        """
        windows, owners = [], []
        for number, request in enumerate(requests):
            tokens = self.tok_encode(request.args[0])
            most = self._model.longest or max(1, len(tokens))
            for pair in get_rolling_token_windows(tokens, self.eot_token_id, most, 1):
                windows.append((None, *make_disjoint_window(pair)))
                owners.append(number)
        found = self._loglikelihood_tokens(windows)
        totals = np.zeros(len(requests))
        np.add.at(totals, np.array(owners, int), [total for total, _ in found])
        for request, total in zip(requests, totals.tolist(), strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals.tolist()

    def generate_until(
        self, requests: list[Any], disable_tqdm: bool = False
    ) -> list[str]:
        """Continue texts until a string that ends them, or a number of tokens.

        Args:
            requests: with a context and how to continue it as their arguments.
            disable_tqdm: not looked at.
        """
        alike: dict[tuple[int, Sampling], list[int]] = defaultdict(list)
        for number, request in enumerate(requests):
            alike[_drawn(request.args[1])].append(number)
        found: dict[int, str] = {}
        for (length, sampling), numbers in alike.items():
            prompts = {n: self._prompt(requests[n].args[0]) for n in numbers}
            ordered = sorted(numbers, key=lambda n: len(prompts[n]))
            for start in range(0, len(ordered), _TOGETHER):
                some = ordered[start : start + _TOGETHER]
                ids = [prompts[n] for n in some]
                new = self._continued(ids, length, sampling)
                for n, row in zip(some, new, strict=True):
                    found[n] = self._text(row, requests[n].args[1])
        for number, request in enumerate(requests):
            self.cache_hook.add_partial("generate_until", request.args, found[number])
        return [found[number] for number in range(len(requests))]

    def _prompt(self, context: str) -> np.ndarray:
        ids = prompted(self._model.tokenizer, context)
        return ids if len(ids) else np.array([self.eot_token_id], np.int32)

    def _continued(
        self, prompts: list[np.ndarray], length: int, sampling: Sampling
    ) -> np.ndarray:
        """Continue prompts, always as many of them: one shape is compiled."""
        padded = prompts + prompts[-1:] * (_TOGETHER - len(prompts))
        new = self._model.generate_ids(padded, length, sampling, self._seed)
        return new[: len(prompts)]

    def _text(self, row: np.ndarray, how: dict[str, Any]) -> str:
        """The text of new tokens, before what ends it."""
        end = self._model.tokenizer.end_id
        ends = np.flatnonzero(row == end) if end is not None else np.zeros(0, int)
        text = self._model.tokenizer.decode(row[: ends[0]] if len(ends) else row)
        until = how.get("until") or []
        for stop in [until] if isinstance(until, str) else until:
            text = text.split(stop)[0] if stop else text
        return text


def _drawn(how: dict[str, Any]) -> tuple[int, Sampling]:
    """How many tokens are drawn, and how: the likeliest, unless a task says otherwise.

    Raises:
        UserError: a way to draw that there isn't here.
    """
    names = ("max_gen_toks", "max_new_tokens", "max_tokens")
    length = next((how[name] for name in names if how.get(name)), _LENGTH)
    known = {*names, "until", "do_sample", "temperature", "top_k", "top_p", "min_p"}
    if strange := how.keys() - known:
        raise UserError(
            f"The task wants texts drawn by {', '.join(sorted(strange))}."
            f"{nearest(min(strange), known)}"
        )
    temperature = float(how.get("temperature") or 0.0)
    if not how.get("do_sample", temperature > 0) or not temperature:
        return int(length), Sampling(temperature=0.0)
    cuts: dict[str, Any] = {name: how.get(name) for name in ("top_k", "top_p", "min_p")}
    return int(length), Sampling(temperature, **cuts)


def harness_results(
    model: NeuralModel | CountedModel,
    tasks: Sequence[str],
    limit: int | None = None,
) -> dict[str, Any]:
    """Evaluate a model on tasks of the harness.

    Args:
        model: that continues texts.
        tasks: names of the harness, or paths of files that define one.
        limit: examples of each task, from its first on; None is all.

    Returns:
        What the harness says: "results" by task, "n-shot", "n-samples", "versions".

    Raises:
        UserError: there is no such task, or its data can't be had.
    """
    manager = TaskManager()
    for task in tasks:
        if task not in manager.all_tasks and not Path(task).is_file():
            raise UserError(
                f"--tasks {task}: the harness has no task of that name, and there is "
                f"no such file.{_alike(task, manager.all_tasks)}"
            )
    try:
        found = simple_evaluate(
            HarnessModel(model),
            tasks=list(tasks),
            limit=limit,
            task_manager=manager,
            bootstrap_iters=1000,
            log_samples=False,
            verbosity="ERROR",
        )
    except (OSError, ConnectionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        offline = " HF_DATASETS_OFFLINE is set." * bool(
            os.environ.get("HF_DATASETS_OFFLINE")
        )
        raise UserError(
            f"--tasks {' '.join(tasks)} can't be evaluated: {reason}{offline}"
        ) from error
    assert found is not None  # a process of several alone gets nothing
    return dict(found)


def _alike(name: str, there: Sequence[str]) -> str:
    """Which tasks may have been meant; there are thousands."""
    close = nearest(name, there).partition(" There is:")[0]
    return close or " `lm-eval ls tasks` lists them."


def table_of(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The rows of a table: a task and metric, and its value with its standard error."""
    rows = []
    for task, values in found["results"].items():
        for name, value in values.items():
            metric, _, way = name.partition(",")
            if not isinstance(value, float | int) or "_stderr" in metric or not way:
                continue
            error = values.get(f"{metric}_stderr,{way}")
            spread = f" ± {error:.4f}" if isinstance(error, float | int) else ""
            how = "" if way == "none" else f" ({way})"
            shots = found.get("n-shot", {}).get(task, 0)
            count = found.get("n-samples", {}).get(task, {}).get("effective", "")
            said = f"{value:.4f}{spread}, {count} examples, {shots}-shot"
            rows.append((f"{task} {metric}{how}", said))
    return rows
