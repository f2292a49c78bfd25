"""Refusals, in the form that OpenAI's clients know."""

from typing import Any

from lm_jax.errors import NotFinite, UserError
from lm_jax.serving.jobs import Busy, Closed, Late


class Refused(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        message: what is wrong, where, and the nearest right thing.
        field: of the body, where it is one.
        code: a word for programs.
    """

    def __init__(
        self, status: int, message: str, field: str | None = None, code: str = ""
    ):
        super().__init__(message)
        self.status, self.field, self.code = status, field, code

    @property
    def body(self) -> dict[str, Any]:
        """The refusal as JSON."""
        kinds = {401: "authentication_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error")
        return {
            "error": {
                "message": str(self),
                "type": kind if self.status < 500 else "server_error",
                "param": self.field,
                "code": self.code or None,
            }
        }


def refusal_of(error: Exception) -> Refused:
    """Give the refusal that tells of an error; of a fault of ours, its kind alone."""
    match error:
        case Refused():
            return error
        case Busy():
            return Refused(429, str(error), code="queue_full")
        case Late():
            return Refused(408, str(error), code="timeout")
        case Closed():
            return Refused(503, str(error), code="shutting_down")
        case NotFinite():
            return Refused(500, str(error), code="not_finite")
        case UserError():
            return Refused(400, str(error), code="invalid_value")
    return Refused(500, f"The server failed: {type(error).__name__}.", code="failed")
