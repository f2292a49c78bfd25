"""A referee for recipes that are proposed one by one, by people or by programs.

`value` is what they compete for. `referee` plays a proposal against the standing best:
`freezing` copies it, `rules` checks it, `launching` trains it in a `worker`, `scoring`
scores it, `levels` says how sure a win must be, and `ledger` keeps all of it.
"""

from lm_jax.contest.value import Contest

__all__ = ["Contest"]
