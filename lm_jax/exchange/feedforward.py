"""What bends, and the position-wise half of a block."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lm_jax.errors import UserError, nearest
from lm_jax.exchange.fields import ABSENT, Config, Unheld
from lm_jax.models import MLP, Gated, MoE

# Their names of what bends, and ours.
_ACTIVATIONS = {
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu_fast": "gelu",
    "gelu": "gelu_exact",
    "relu": "relu",
    "relu2": "relu2",
    "silu": "silu",
    "swish": "silu",
}


@dataclass(frozen=True)
class Activation:
    """What bends, by its name.

    Attributes:
        theirs: the key.
        ours: a field, or "feedforward" of which it is a part.
        default: of the key.
    """

    theirs: str
    ours: str
    default: str

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Read it by our name."""
        return {self.ours: activation(config, self.theirs, self.default)}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write it by theirs."""
        return {self.theirs: their_activation(ours[self.ours], self.ours)}


def activation(config: Config, key: str, default: str) -> str:
    """Our name of what a key says.

    Raises:
        UserError: ours have no such activation.
    """
    name = config.take(key, default)
    if name not in _ACTIVATIONS:
        raise UserError(
            f"{config.path}: {key}={name!r} is an activation that our models lack."
            f"{nearest(str(name), _ACTIVATIONS)}"
        )
    return _ACTIVATIONS[name]


def their_activation(name: str, field: str) -> str:
    """Their name of an activation of ours.

    Raises:
        Unheld: they have none.
    """
    for theirs, ours in _ACTIVATIONS.items():
        if ours == name:
            return theirs
    raise Unheld(field)


@dataclass(frozen=True)
class Feedforward:
    """The position-wise half of a block, of one kind.

    Attributes:
        kind: ours.
        hidden: key of the hidden width.
        bends: key of the activation.
        default: of the activation.
        times: the hidden width over the width, where its key is null.
    """

    kind: type[MLP] | type[Gated]
    hidden: str
    bends: str
    default: str
    times: int | None = None

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Read the width and what bends."""
        hidden = config.take(self.hidden, None if self.times else ABSENT)
        if hidden is None and self.times:
            hidden = self.times * ours["width"]
        name: Any = activation(config, self.bends, self.default)
        made = self.kind(hidden / ours["width"], name)
        if made.hidden(ours["width"]) != hidden:
            raise UserError(
                f"{config.path}: {self.hidden}={hidden!r}, and a gated layer of ours "
                "is a multiple of 8 wide."
            )
        return {"feedforward": made}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write both."""
        made = ours["feedforward"]
        if type(made) is not self.kind:
            raise Unheld("feedforward")
        bends = their_activation(made.activation, "feedforward")
        return {self.hidden: made.hidden(ours["width"]), self.bends: bends}


@dataclass(frozen=True)
class MixtralExperts:
    """A mixture of gated experts, whose weights for a token sum to one."""

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Read how many there are, and serve a token."""
        name: Any = activation(config, "hidden_act", "silu")
        experts = config.whole("num_local_experts", 8)
        chosen = config.whole("num_experts_per_tok", 2)
        if chosen == 1:
            # The weight of a token's one expert is one there, and its chance here.
            raise config.refuse("num_experts_per_tok", ["2 or more"])
        ratio = config.whole("intermediate_size") / ours["width"]
        return {"feedforward": MoE(experts, chosen, ratio, name, gated=True)}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write them."""
        made = ours["feedforward"]
        if not isinstance(made, MoE) or made.k == 1:
            raise Unheld("feedforward")
        return {
            "num_local_experts": made.experts,
            "num_experts_per_tok": made.k,
            "intermediate_size": made.hidden(ours["width"]),
            "hidden_act": their_activation(made.activation, "feedforward"),
        }
