"""Answers that are JSON: what a request asks for, and what a slot may go on with."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Array, UInt8

from lm_jax.errors import UserError
from lm_jax.generation import Schema
from lm_jax.generation.constraints import Grammar, Row
from lm_jax.serving.fields import mapping, read_field
from lm_jax.serving.opening import Writer
from lm_jax.serving.refusals import Refused
from lm_jax.serving.writing import Reason

FORMAT = "response_format"


def asked_grammar(
    body: Mapping[str, Any], opened: Writer, length: int
) -> Grammar | None:
    """Read what the answers are to be; None where they are text of any kind.

    Args:
        body: of the request.
        opened: the model that is asked.
        length: tokens of an answer.

    Raises:
        Refused: it is none of the kinds that there are, or no schema.
    """
    form = read_field(body, FORMAT, mapping, {"type": "text"})
    match form.get("type"):
        case "text":
            return None
        case "json_object":
            schema: Any = {"type": "object"}
        case "json_schema":
            named = form.get("json_schema")
            schema = named.get("schema") if isinstance(named, dict) else None
        case other:
            raise Refused(
                400,
                f"{FORMAT}.type={other!r:.40}: give text, json_object or json_schema.",
                FORMAT,
            )
    if schema is None:
        raise Refused(400, f"{FORMAT}.json_schema.schema is missing.", FORMAT)
    if body.get("stop"):
        raise Refused(
            400, f"{FORMAT} says where an answer ends: leave stop out.", "stop"
        )
    try:
        grammar = Grammar(
            Schema(json.dumps(schema)), opened.tokenizer, opened.tokenizer.end_id
        )
        grammar.check(length)
    except UserError as error:
        raise Refused(400, f"{FORMAT}: {error}", FORMAT) from error
    return grammar


def begun(
    grammar: Grammar | None, bits: UInt8[Array | np.ndarray, " bytes"]
) -> Row | None:
    """Begin an answer in a slot.

    Args:
        grammar: what it is to be; None allows all.
        bits: of the tokens that the slot may go on with; they are written to.
    """
    writable = np.asarray(bits)
    writable[:] = 255
    if grammar is None:
        return None
    row = grammar.begin()
    row.fill(writable)
    return row


def ending(
    row: Row | None, token: int, last: bool, bits: UInt8[Array | np.ndarray, " bytes"]
) -> Reason | None:
    """Go on by a token; say why the answer ends with it, None where it doesn't.

    Args:
        row: how far the answer has come; None where it is text of any kind.
        token: that was drawn.
        last: whether there may be no more.
        bits: of the slot; they are written to.

    Raises:
        UserError: nothing that the tokenizer spells can follow.
    """
    if row is None:
        return "length" if last else None
    row.add(token)
    row.fill(np.asarray(bits))
    if row.over or (last and row.whole):
        return "stop"
    return "length" if last else None
