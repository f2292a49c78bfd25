"""What a user got wrong, said in one message."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user's: one message, exit code 2 and no traceback.

    The message names what is wrong, where, and the nearest right thing.
    """


class NotFinite(UserError):
    """A model's numbers are infinite or none: there is nothing to say of them."""


class Diverged(Exception):
    """A loss, gradient or update was not finite; the state before it was saved."""


class Lost(Exception):
    """Another process of the run is not there any more, or can't be reached."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Say which of the choices the user may have meant, and list them all.

    Capitals and small letters are alike.
    """
    choices = sorted(choices)
    plain = {choice.lower(): choice for choice in reversed(choices)}
    close = difflib.get_close_matches(name.lower(), plain, n=1, cutoff=0.5)
    guess = f" Did you mean '{plain[close[0]]}'?" if close else ""
    return f"{guess} There is: {', '.join(choices)}."
