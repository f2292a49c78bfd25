"""Adding tokens to texts with a cache, in one compiled call.

How a token is chosen is a `Chooser`'s: sampling and beams share all of this, and so do
decoders and encoder-decoders.
"""

import functools
from typing import Any, NamedTuple, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Key

from lm_jax.generation.penalties import History
from lm_jax.platform import products_of


class Windows(NamedTuple):
    """How much of a text a model sees at once.

    Attributes:
        context: tokens of a window, at most.
        slots: of the cache.
        width: tokens of the longest window that is read at once.
    """

    context: int
    slots: int
    width: int

    @property
    def half(self) -> int:
        """Tokens of a full window that the next one begins with."""
        return max(1, self.context // 2)


class State(NamedTuple):
    """Texts that grow.

    Attributes:
        text: each row's tokens: the prompt, then new ones.
        starts, ends: columns of the window that the model sees.
        firsts: columns of the first new tokens.
        stops: columns that no token is written to, nor any after it.
        cache: of the window, without its last token.
        unread: whether the cache is of no token yet.
        finite: whether each token was chosen by logits with a finite largest.
        own: what a chooser keeps.
    """

    text: Int[Array, "rows columns"]
    starts: Int[Array, " rows"]
    ends: Int[Array, " rows"]
    firsts: Int[Array, " rows"]
    stops: Int[Array, " rows"]
    cache: Any
    unread: Bool[Array, ""]
    finite: Bool[Array, ""]
    own: Any

    @property
    def history(self) -> History:
        """The text so far."""
        return History(self.text, self.firsts, self.ends)


class Continuation(NamedTuple):
    """New tokens of one prompt.

    Attributes:
        tokens: with the one that ended them, if one did.
        log_probabilities: ln p of each, as the model says it: before penalties,
            temperature and cuts.
        ended: whether they end by a token that ends a text.
        score: that a beam search went by; of drawn tokens the sum of their ln p.
        whole: whether they are all that a constraint asks for.
    """

    tokens: Int[np.ndarray, " tokens"]
    log_probabilities: Float32[np.ndarray, " tokens"]
    ended: bool
    score: float
    whole: bool = False


class Choice(NamedTuple):
    """What follows each row.

    Attributes:
        tokens: the next ones.
        ended: whether nothing follows them.
        own: what the chooser keeps now.
        parents: the row that each row goes on from; None is itself.
    """

    tokens: Int[Array, " rows"]
    ended: Bool[Array, " rows"]
    own: Any
    parents: Int[Array, " rows"] | None = None


@runtime_checkable
class Chooser(Protocol):
    """A frozen value that chooses tokens."""

    def choose(
        self,
        logits: Float[Array, "rows vocab"],
        state: State,
        growing: Bool[Array, " rows"],
        key: Key[Array, ""],
    ) -> Choice:
        """Choose what follows each row.

        Args:
            logits: of the next token.
            state: before it.
            growing: rows that get a token; of others ``own`` must stay as it is.
            key: of all draws.
        """

    def found(self, state: State, length: int) -> list[list[Continuation]]:
        """What was chosen for each prompt so far."""


@functools.partial(
    jax.jit, static_argnames=("model", "windows", "chooser"), donate_argnames="state"
)
def advance(
    model: nn.Module,
    params: Any,
    state: State,
    limit: Int[Array, ""],
    key: Key[Array, ""],
    windows: Windows,
    chooser: Chooser,
) -> State:
    """Add tokens until each row has ``limit`` new ones, or stops.

    A row's window is text[start:end]. The outer loop reads the windows into an
    empty cache, the inner one adds tokens until every window is full; a row
    whose window is full before the others' waits for the next reading. So a
    row's tokens never depend on the rows beside it.
    """

    def wanting(state):
        return state.ends < jnp.minimum(state.stops, state.firsts + limit)

    def growing(state):
        return wanting(state) & (state.ends - state.starts <= windows.context)

    def fill(state):
        """Fill the windows; where all are full, begin with their last halves."""
        read = state.unread | ~growing(state).any()
        read_anew = functools.partial(_read_anew, model, params, windows)
        state = jax.lax.cond(read, read_anew, lambda state: state, state)
        return jax.lax.while_loop(lambda s: growing(s).any(), add_token, state)

    def add_token(state):
        """Show the model each row's last token and choose the one after it."""
        logits, cache = _next(model, params, state, growing(state), windows.slots)
        choice = chooser.choose(logits, state, growing(state), key)
        finite = jnp.isfinite(logits.max(axis=-1)) | ~growing(state)
        return _extended(model, state, growing(state), choice, cache, finite.all())

    return jax.lax.while_loop(lambda s: wanting(s).any(), fill, state)


def _read_anew(model, params, windows, state):
    """Remember the windows, and after a short one what will be overwritten."""
    starts, ends = state.starts, state.ends
    starts = jnp.where(ends - starts > windows.context, ends - windows.half, starts)
    where = jnp.arange(windows.width)
    tokens = jnp.take_along_axis(state.text, starts[:, None] + where, 1, mode="clip")
    positions = jnp.broadcast_to(where, tokens.shape)
    # The last token is left for add_token; what follows it is padding. Its logits from
    # here would want the last layer of every token, of which now only keys and values
    # are made: 466 ms until the first token in place of 403, of 8 prompts of 128 (4
    # layers of width 512, float32, jax 0.12, two Xeon cores that others used too).
    before = (where < (ends - 1 - starts)[:, None]).astype(jnp.int32)
    empty = model.cleared(state.cache)
    _, cache = apply(model, params, tokens, positions, empty, before)
    return state._replace(starts=starts, cache=cache, unread=jnp.zeros((), bool))


def _next(model, params, state, growing, slots):
    """Logits of the next token, and the cache with the last one."""
    position = jnp.minimum(state.ends - 1 - state.starts, slots - 1)
    token = jnp.take_along_axis(state.text, state.ends[:, None] - 1, axis=1)
    # A row that waits reads nothing: a state of constant size would change.
    reads = growing[:, None].astype(jnp.int32)
    logits, cache = apply(model, params, token, position[:, None], state.cache, reads)
    return logits[:, 0], cache


def _extended(model, state, growing, choice, cache, finite):
    """Write the tokens that were chosen."""
    text = state.text
    if choice.parents is not None:
        text, cache = text[choice.parents], model.rows_of(cache, choice.parents)
    # A row that waits is written too: its next token is written over that.
    text = text.at[jnp.arange(len(text)), state.ends].set(choice.tokens, mode="drop")
    ends = state.ends + growing
    stops = jnp.where(growing & choice.ended, ends, state.stops)
    return state._replace(
        text=text,
        ends=ends,
        stops=stops,
        cache=cache,
        finite=state.finite & finite,
        own=choice.own,
    )


def apply(
    model: nn.Module,
    params: Any,
    tokens: Int[Array, "rows time"],
    positions: Int[Array, "rows time"],
    cache: Any,
    segments: Int[Array, "rows time"],
    method: str | None = None,
) -> tuple[Float[Array, "rows time _"], Any]:
    """Read tokens: the logits after each, and the cache with them.

    Args:
        model, params: that read.
        tokens: new ones.
        positions: where each stands.
        cache: of the tokens before.
        segments: 0 is padding, which is not remembered.
        method: "features" gives these in the place of logits.
    """
    with products_of(model):
        return model.apply(
            {"params": params},
            tokens,
            positions=positions,
            segments=segments,
            cache=cache,
            method=method,
        )
