"""What a request asks for: a body of JSON becomes jobs, or one refusal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from lm_jax.data.template import Turn
from lm_jax.errors import UserError, nearest
from lm_jax.generation import Sampling
from lm_jax.retrieval.reading import Side
from lm_jax.serving.constraining import FORMAT, asked_grammar
from lm_jax.serving.drawing import LIKELIEST
from lm_jax.serving.embedding import Embedder, read_prompt
from lm_jax.serving.fields import boolean, mapping, number, one_of, read_field, whole
from lm_jax.serving.fields import text as read_text
from lm_jax.serving.jobs import Job
from lm_jax.serving.opening import Opened, Writer
from lm_jax.serving.refusals import Refused


@dataclass(frozen=True)
class Limits:
    """What a request may ask for.

    Attributes:
        body: bytes of a request.
        body_seconds: until all of it has come.
        seconds: until an answer is cut.
        length: tokens of an answer.
        answers: prompts of a request times the answers to each.
        texts: that a request has vectors of.
        queue: answers that may wait.
    """

    body: int = 2**20
    body_seconds: float = 10.0
    seconds: float = 120.0
    length: int = 4096
    answers: int = 16
    texts: int = 2048
    queue: int = 64


@dataclass(frozen=True)
class Asked:
    """What is to be answered.

    Attributes:
        jobs: a job for each answer: those to the first prompt first.
        chat: whether it is a conversation.
        prompts: text that stands before each answer; "" where it is not echoed.
        logprobs: alternatives of each token that are told; None tells of no token.
        stream: whether the answer is sent while it grows.
        usage: whether a stream ends with the numbers of tokens.
    """

    jobs: tuple[Job, ...]
    chat: bool
    prompts: tuple[str, ...]
    logprobs: int | None
    stream: bool
    usage: bool


class AskedVectors(NamedTuple):
    """What there are to be vectors of.

    Attributes:
        texts: what is read of each.
        side: who reads them.
        packed: whether each vector is told in base64.
    """

    texts: list[Int[np.ndarray, " tokens"]]
    side: Side
    packed: bool


_COMMON: tuple[str, ...] = (
    "model",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
)
_COMMON += ("n", "stop", "stream", "stream_options", "logprobs", FORMAT)
_PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")
_COMMON += (*_PENALTIES, "no_repeat_ngram", "typical")
_TEXT = (*_COMMON, "prompt", "echo")
_CHAT = (*_COMMON, "messages", "max_completion_tokens", "top_logprobs")
_EMBEDDING = ("model", "input", "encoding_format", "dimensions")
# What changes no answer here.
_UNREAD = ("user", "metadata", "store", "service_tier", "safety_identifier")
# What is not done here, and what says that it isn't asked for.
_UNDONE: dict[str, tuple] = {
    "logit_bias": ({}, None),
    "best_of": (1, None),
    "suffix": ("", None),
    "tools": ([], None),
    "tool_choice": ("none", "auto", None),
    "functions": ([], None),
    "modalities": (["text"], None),
}


def asked_text(body: Any, opened: Writer, limits: Limits) -> Asked:
    """Read the body of /v1/completions.

    Raises:
        Refused: naming the field and what it may be.
    """
    body = _checked(body, opened, _TEXT)
    prompts = _prompts(body, opened)
    echo = read_field(body, "echo", boolean, False)
    count = read_field(body, "logprobs", whole(0, LIKELIEST), None)
    if echo and count is not None:
        raise Refused(400, "echo gives no logprobs: leave one of them out.", "logprobs")
    spelled = [opened.tokenizer.decode(ids) if echo else "" for ids in prompts]
    length = read_field(body, "max_tokens", whole(1, limits.length), 16)
    return _asked(body, opened, limits, prompts, spelled, count, length, ())


def asked_chat(body: Any, opened: Writer, limits: Limits) -> Asked:
    """Read the body of /v1/chat/completions.

    Raises:
        Refused: naming the field and what it may be.
    """
    body = _checked(body, opened, _CHAT)
    try:
        ids = opened.template.ids(_turns(body), opened.tokenizer)
    except UserError as error:
        raise Refused(400, str(error), "messages") from error
    count = read_field(body, "top_logprobs", whole(0, LIKELIEST), None)
    if not read_field(body, "logprobs", boolean, False):
        if count is not None:
            raise Refused(400, "top_logprobs needs logprobs=true.", "top_logprobs")
    else:
        count = count or 0
    length = read_field(body, "max_tokens", whole(1, limits.length), limits.length)
    length = read_field(body, "max_completion_tokens", whole(1, limits.length), length)
    stops = opened.template.stops
    return _asked(body, opened, limits, [ids], [""], count, length, stops)


def asked_vectors(
    body: Any, opened: Opened, limits: Limits, embedder: Embedder
) -> AskedVectors:
    """Read the body of /v1/embeddings.

    Raises:
        Refused: naming the field and what it may be.
    """
    several = len(embedder.longest) > 1
    body = _checked(body, opened, (*_EMBEDDING, *(("input_type",) * several)))
    form = read_field(body, "encoding_format", one_of("float", "base64"), "float")
    side = read_field(body, "input_type", one_of(*embedder.longest), "passage")
    width = body.get("dimensions")
    if width not in (None, embedder.width):
        message = f"dimensions={width!r:.40}: vectors have {embedder.width}."
        raise Refused(400, f"{message} Leave it out.", "dimensions")
    given = body.get("input")
    if isinstance(given, list) and len(given) > limits.texts and not _are_ids(given):
        raise Refused(400, f"input has more than {limits.texts} texts.", "input")
    found = _texts(body, "input", embedder.read)
    for ids in found:
        embedder.check(ids, side)
    return AskedVectors(found, side, form == "base64")


def _checked(body: Any, opened: Opened, known: Sequence[str]) -> Mapping[str, Any]:
    """The body, which has no field that means nothing here."""
    if not isinstance(body, dict):
        raise Refused(400, "The body is no JSON object.")
    for name, value in body.items():
        if name in _UNDONE and value not in _UNDONE[name]:
            raise Refused(400, f"{name} is not done here: leave it out.", name)
        if name not in (*known, *_UNREAD, *_UNDONE):
            raise Refused(400, f"There is no {name}.{nearest(name, known)}", name)
    model = read_field(body, "model", read_text, opened.name)
    if model != opened.name:
        message = f"There is no model {model!r}. There is: {opened.name}."
        raise Refused(404, message, "model", "model_not_found")
    return body


def _asked(
    body: Mapping[str, Any],
    opened: Writer,
    limits: Limits,
    prompts: Sequence[Int[np.ndarray, " tokens"]],
    spelled: Sequence[str],
    logprobs: int | None,
    length: int,
    stops: tuple[str, ...],
) -> Asked:
    count = read_field(body, "n", whole(1, limits.answers), 1)
    if count * len(prompts) > limits.answers:
        raise Refused(
            400,
            f"{len(prompts)} prompts with {count} answers each are more than "
            f"{limits.answers}, the most of a request.",
            "n",
        )
    options = read_field(body, "stream_options", mapping, {})
    grammar = asked_grammar(body, opened, length)
    stops = (*_stops(body), *stops) if grammar is None else ()
    seed = read_field(body, "seed", whole(0, 2**32 - 1), None)
    common: dict[str, Any] = {
        "length": length,
        "sampling": _sampling(body, opened),
        "seed": int(np.random.default_rng().integers(2**32)) if seed is None else seed,
        "ends": opened.ends,
        "stops": stops,
        "grammar": grammar,
        "scored": logprobs is not None,
        "seconds": limits.seconds,
    }
    return Asked(
        tuple(Job(ids, choice=k, **common) for ids in prompts for k in range(count)),
        "messages" in body,
        tuple(text for text in spelled for _ in range(count)),
        logprobs,
        read_field(body, "stream", boolean, False),
        options.get("include_usage") is True,
    )


def _sampling(body: Mapping[str, Any], opened: Writer) -> Sampling:
    sampling = Sampling(
        temperature=read_field(body, "temperature", number, 1.0),
        top_k=read_field(body, "top_k", whole(1, 2**31 - 1), None),
        top_p=read_field(body, "top_p", number, None),
        min_p=read_field(body, "min_p", number, None),
        typical=read_field(body, "typical", number, None),
        no_repeat_ngram=read_field(body, "no_repeat_ngram", whole(1, 2**31 - 1), None),
        **{
            name: read_field(body, name, number, getattr(Sampling(), name))
            for name in _PENALTIES
        },
    )
    try:
        sampling.check(opened.fitted.model.vocab_size)
    except UserError as error:
        message = str(error).removeprefix("sampling.")
        raise Refused(400, message, message.partition("=")[0]) from error
    return sampling


def _prompts(
    body: Mapping[str, Any], opened: Writer
) -> list[Int[np.ndarray, " tokens"]]:
    if body.get("prompt") is None:
        raise Refused(400, "prompt is missing: a text, or several.", "prompt")
    return _texts(body, "prompt", partial(read_prompt, opened.tokenizer))


def _texts(
    body: Mapping[str, Any],
    name: str,
    read: Callable[[str | Sequence[int]], Int[np.ndarray, " tokens"]],
) -> list[Int[np.ndarray, " tokens"]]:
    """The tokens of a text or of several, given as text or as ids."""
    given = body.get(name)
    if isinstance(given, str) or _are_ids(given):
        given = [given]
    if not isinstance(given, list) or not given:
        raise Refused(400, f"{name}: give a text, ids, or a list of them.", name)
    found = []
    for each in given:
        if not (isinstance(each, str) or _are_ids(each)):
            raise Refused(400, f"{name}: {each!r:.40} is no text and no ids.", name)
        try:
            found.append(read(each))
        except UserError as error:
            raise Refused(400, f"{name}: {error}", name) from error
    return found


def _are_ids(given: Any) -> bool:
    return (
        isinstance(given, list)
        and len(given) > 0
        and all(type(i) is int and 0 <= i < 2**31 for i in given)
    )


def _turns(body: Mapping[str, Any]) -> list[Turn]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "messages: give a list of turns.", "messages")
    turns = []
    for k, message in enumerate(messages):
        place = f"messages[{k}]"
        if not isinstance(message, dict):
            raise Refused(400, f"{place} is no object.", "messages")
        content = message.get("content")
        if isinstance(content, list):  # parts, of which texts are read
            parts = [p.get("text") if isinstance(p, dict) else None for p in content]
            whole_text = all(isinstance(part, str) for part in parts)
            content = "".join(map(str, parts)) if whole_text else None
        if not isinstance(content, str):
            raise Refused(400, f"{place}.content is no text.", "messages")
        role: Any = str(message.get("role"))
        turns.append(Turn("system" if role == "developer" else role, content))
    return turns


def _stops(body: Mapping[str, Any]) -> tuple[str, ...]:
    given = body.get("stop")
    given = [given] if isinstance(given, str) else [] if given is None else given
    fits = isinstance(given, list) and len(given) <= 4
    if not fits or not all(isinstance(stop, str) and stop for stop in given):
        raise Refused(400, "stop: give up to 4 texts, none of them empty.", "stop")
    return tuple(given)
