"""The loss of a run by its parameters and tokens, fitted to a ladder of runs.

L(N, D) = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, approach 3).
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from lm_jax.errors import UserError

Values = Float64[np.ndarray, " runs"]
Exponents = Float64[np.ndarray, "2"]

UNKNOWNS = 5  # E, A, alpha, B, beta
_FEWEST = 3  # sizes, and token counts: two can't tell A from alpha
_SMALLEST, _LARGEST = 1e-3, 3.0  # exponents; what lies there is at the edge
_STARTS = tuple(itertools.product((0.1, 0.35, 1.2), repeat=2))
_AGREE = 1e-3  # how far apart exponents of equally good fits may lie
_FLAT = 1e-4  # cosine between residuals and what the exponents can change
_EXACT = 1e-9  # root mean square of relative residuals that are none


@dataclass(frozen=True)
class Law:
    """E + A / N^alpha + B / D^beta, in nats; never rounded.

    Attributes:
        E: what no size and no text takes away.
        A, alpha: of the parameters.
        B, beta: of the tokens.
    """

    E: float
    A: float
    alpha: float
    B: float
    beta: float

    def loss(self, parameters: Any, tokens: Any) -> Any:
        """The loss of runs of so many parameters and tokens."""
        return self.E + self.A * parameters**-self.alpha + self.B * tokens**-self.beta

    @property
    def edges(self) -> list[str]:
        """What of it lies where no law is; none of a law that can be used."""
        found = [f"{name} = 0" for name in ("E", "A", "B") if not getattr(self, name)]
        for name in ("alpha", "beta"):
            exponent = getattr(self, name)
            if not 1.01 * _SMALLEST < exponent < 0.99 * _LARGEST:
                found.append(f"{name} = {exponent:.3g}")
        return found


def fit(parameters: Values, tokens: Values, losses: Values) -> Law:
    """Fit a law to runs, by least squares of relative residuals.

    Variable projection (Golub and Pereyra 1973): of given exponents the best E, A and B
    are a linear problem, here with none below zero, so that only two numbers are
    searched for. The published fit stopped early, for the scale of its loss (Besiroglu
    et al. 2024): here what stops the search is relative, nine starts must agree, and
    the gradient is looked at.

    Args:
        parameters: of each run, all of them, the head's too.
        tokens: that each was trained on.
        losses: of each at its end, nats.

    Raises:
        UserError: so few runs, sizes or token counts say no law; the search didn't
            converge; the law lies at an edge.
    """
    _check(parameters, tokens)
    problem = _Problem.of(parameters, tokens, losses)
    found = [problem.search(start) for start in _STARTS]
    best = min(found, key=problem.rms)
    law = problem.law(best)
    if law.edges:
        raise UserError(
            f"The fit lies at an edge ({', '.join(law.edges)}): these runs don't tell "
            "the parts of the law apart. Add runs over a wider range of parameters "
            "and of tokens."
        )
    _check_converged(problem, found, best)
    return law


def refit(law: Law, parameters: Values, tokens: Values, losses: Values) -> Law:
    """Fit the same runs with other losses, from a law that is near; edges too."""
    problem = _Problem.of(parameters, tokens, losses)
    near = np.array([law.alpha, law.beta])
    return problem.law(problem.search(near, tolerance=1e-7))


def _check(parameters: Values, tokens: Values) -> None:
    """Refuse what no law can be fitted to.

    Raises:
        UserError: saying what is missing.
    """
    if len(parameters) <= UNKNOWNS:
        raise UserError(
            f"{len(parameters)} runs can't say {UNKNOWNS} numbers (E, A, alpha, B, "
            "beta) and how sure they are: a dozen can, of 4 sizes and 3 token counts."
        )
    for what, values in (("sizes", parameters), ("token counts", tokens)):
        there = sorted(set(values.tolist()))
        if len(there) < _FEWEST:
            named = " and ".join(f"{value:,.0f}" for value in there)
            raise UserError(
                f"All runs are of {len(there)} {what} ({named}): {_FEWEST} at the "
                "least tell how the loss falls with them, 4 are better."
            )


def _check_converged(
    problem: "_Problem", found: list[Exponents], best: Exponents
) -> None:
    """See that searches agree on the best exponents, and that nothing slopes there.

    Raises:
        UserError: they end elsewhere, or on a slope.
    """
    limit = problem.rms(best) * (1 + 1e-6) + _EXACT
    good = [each for each in found if problem.rms(each) <= limit]
    apart = max(float(np.abs(each - best).max()) for each in good)
    if len(good) < 3 or apart > _AGREE or problem.slope(best) > _FLAT:
        raise UserError(
            f"The fit did not converge: {len(good)} of {len(found)} searches end at "
            f"the smallest residual, with exponents up to {apart:.2g} apart. These "
            "runs don't say one law: add token counts for each size, and sizes."
        )


@dataclass(frozen=True)
class _Problem:
    """Two exponents are searched for; sizes and tokens are taken by their means.

    Attributes:
        logs: log of N and D over their geometric means, (2, runs).
        means: of the logs.
        losses: of the runs.
    """

    logs: Float64[np.ndarray, "2 runs"]
    means: Float64[np.ndarray, "2"]
    losses: Values

    @classmethod
    def of(cls, parameters: Values, tokens: Values, losses: Values) -> "_Problem":
        logs = np.log(np.stack([parameters, tokens]))
        means = logs.mean(axis=1)
        return cls(logs - means[:, None], means, losses)

    def projected(self, exponents: Exponents) -> tuple[np.ndarray, np.ndarray]:
        """The columns (runs, 3) of relative losses, and the best factors of them."""
        from scipy.optimize import nnls

        powers = np.exp(-exponents[:, None] * self.logs)
        columns = np.stack([np.ones_like(self.losses), *powers], axis=1)
        columns = columns / self.losses[:, None]
        return columns, nnls(columns, np.ones_like(self.losses))[0]

    def residuals(self, exponents: Exponents) -> Values:
        """What is over, relative to the loss."""
        columns, factors = self.projected(exponents)
        return columns @ factors - 1.0

    def jacobian(self, exponents: Exponents) -> Float64[np.ndarray, "runs 2"]:
        """How the exponents change residuals, less what the factors take back.

        Kaufman's approximation (1975): with it the gradient of the sum is exact.
        """
        columns, factors = self.projected(exponents)
        found = -self.logs.T * columns[:, 1:] * factors[1:]
        basis, _ = np.linalg.qr(columns[:, factors > 0])
        return found - basis @ (basis.T @ found)

    def search(self, start: Any, tolerance: float = 1e-10) -> Exponents:
        """The exponents at which a search ends.

        All that ends it is relative, so the scale of the losses doesn't matter.
        """
        from scipy.optimize import least_squares

        return least_squares(
            self.residuals,
            start,
            self.jacobian,
            bounds=(_SMALLEST, _LARGEST),
            method="dogbox",
            ftol=tolerance**1.4,
            xtol=tolerance,
            gtol=None,
            max_nfev=300,
        ).x

    def rms(self, exponents: Exponents) -> float:
        """The root mean square of the residuals."""
        return float(np.sqrt(np.mean(self.residuals(exponents) ** 2)))

    def slope(self, exponents: Exponents) -> float:
        """How far from flat: the largest cosine of residuals and Jacobian."""
        residuals, jacobian = self.residuals(exponents), self.jacobian(exponents)
        if self.rms(exponents) < _EXACT:
            return 0.0
        norms = np.linalg.norm(jacobian, axis=0) * np.linalg.norm(residuals)
        return float(np.max(np.abs(residuals @ jacobian) / norms))

    def law(self, exponents: Exponents) -> Law:
        """The law of some exponents, in parameters and tokens as they are."""
        _, factors = self.projected(exponents)
        alpha, beta = exponents.tolist()
        a, b = (factors[1:] * np.exp(exponents * self.means)).tolist()
        return Law(E=float(factors[0]), A=a, alpha=alpha, B=b, beta=beta)
