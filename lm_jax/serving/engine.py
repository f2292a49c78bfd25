"""Answers to many prompts at once: each step adds a token to every one of them.

A prompt waits in a queue for a free slot of the cache, is read into it piece by piece,
between the steps of the others, and leaves it when its answer ends or nobody waits for
it any longer (continuous batching: Yu et al. 2022, Orca). What stands in the other
slots changes no answer.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from lm_jax.errors import NotFinite, UserError
from lm_jax.generation.sampling import check_seed
from lm_jax.serving.constraining import begun, ending
from lm_jax.serving.jobs import Busy, Closed, Counts, Job, Late, Tell, Ticket
from lm_jax.serving.programs import Rows, Step
from lm_jax.serving.writing import Piece, Token, Writing
from lm_jax.tokenizers import Trained


@runtime_checkable
class Model(Protocol):
    """What the engine asks of a model; see `Programs`."""

    slots: int
    vocab_size: int
    window: int | None

    @property
    def piece(self) -> int:
        """The most tokens of one `read`."""

    def empty_rows(self) -> Rows:
        """Give what a step is told where all slots are free."""

    def read(self, slot: int, ids: Int[np.ndarray, " tokens"], position: int) -> None:
        """Remember tokens of a prompt in a slot."""

    def step(self, rows: Rows) -> Step:
        """Add a token to each slot that writes."""


class Engine:
    """One thread that answers; use it as a context.

    Args:
        model: what it computes.
        tokenizer: of the model.
        queue: how many may wait beside those that are being answered.
    """

    def __init__(self, model: Model, tokenizer: Trained, queue: int = 64):
        self.model, self.tokenizer, self.most = model, tokenizer, queue
        self.counts = Counts()
        self._rows = model.empty_rows()
        self._slots: list[Ticket | None] = [None] * model.slots
        self._queue: deque[Ticket] = deque()
        self._changed = threading.Condition()
        self._closed: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="engine")

    def __enter__(self) -> "Engine":
        """Begin to answer."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop: whoever still waits is told so."""
        self._close(Closed("The server is shutting down."))
        self._thread.join()

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """How many slots are taken."""
        return sum(ticket is not None for ticket in self._slots)

    @property
    def failed(self) -> Exception | None:
        """Why it answers no more; None while it does."""
        return self._closed

    def check(self, job: Job) -> None:
        """Refuse what can't be answered.

        Raises:
            UserError: an empty prompt or one that is too long, ids that the model
                doesn't know, a sampling that can't be, no length, a seed that is none.
        """
        job.sampling.check(self.model.vocab_size)
        check_seed(job.seed)
        if job.length < 1:
            raise UserError(f"An answer of {job.length} tokens is none: ask for 1.")
        if len(job.ids) == 0:
            raise UserError(
                "The prompt is empty. A model continues at least one token; a newline "
                "is a good beginning."
            )
        window, low, high = self.model.window, int(job.ids.min()), int(job.ids.max())
        if window is not None and len(job.ids) > window:
            raise UserError(
                f"The prompt has {len(job.ids)} tokens, and the model reads {window} "
                "at most. Leave its beginning out."
            )
        if low < 0 or high >= self.model.vocab_size:
            raise UserError(
                f"The prompt has token {low if low < 0 else high}, and the model "
                f"knows 0 to {self.model.vocab_size - 1}."
            )

    def submit(self, jobs: Sequence[Job], tell: Sequence[Tell]) -> list[Ticket]:
        """Take some jobs, all or none of them.

        Args:
            jobs: checked first.
            tell: for each, told in the engine's thread; it must not wait.

        Raises:
            UserError: as `check`; there are more than it ever takes at once.
            Busy: there is no room in the queue.
            Closed: nothing is answered any longer.
        """
        for job in jobs:
            self.check(job)
        if len(jobs) > self.most + self.model.slots:
            raise UserError(
                f"{len(jobs)} answers are asked for at once, and {self.model.slots} "
                f"are written while {self.most} wait: ask for fewer."
            )
        tickets = [Ticket(job, each) for job, each in zip(jobs, tell, strict=True)]
        with self._changed:
            if self._closed is not None:
                raise Closed(str(self._closed))
            free = self.model.slots - self.running
            if len(self._queue) + len(tickets) > self.most + free:
                self.counts.refused += 1
                raise Busy(
                    f"{len(self._queue)} requests wait already, and {self.most} may: "
                    "try again later."
                )
            self._queue.extend(tickets)
            self._changed.notify()
        return tickets

    def leave(self, tickets: Sequence[Ticket]) -> None:
        """Say that nobody waits for these answers: their slots become free."""
        with self._changed:
            for ticket in tickets:
                ticket.left = True
            self._changed.notify()

    def answer(self, job: Job) -> Iterator[Piece]:
        """Give the pieces of one answer; who stops listening frees its slot.

        Raises:
            UserError, Busy, Closed: as `submit`.
            Late: its time ran out before it began.
        """
        told: queue.SimpleQueue[Piece | Exception] = queue.SimpleQueue()
        tickets = self.submit([job], [told.put])
        try:
            while True:
                piece = told.get()
                if isinstance(piece, Exception):
                    raise piece
                yield piece
                if piece.reason is not None:
                    return
        finally:
            self.leave(tickets)

    def _run(self) -> None:
        """Answer until it is closed; a fault of ours is told to all who wait."""
        try:
            while self._closed is None:
                self._turn()
        except Exception as error:  # whoever waits must not wait for ever
            self._close(error)
        reason = self._closed
        assert reason is not None
        with self._changed:
            left = [ticket for ticket in self._slots if ticket] + [*self._queue]
            self._slots = [None] * self.model.slots
            self._queue.clear()
        for ticket in left:
            _tell(ticket, reason)

    def _close(self, reason: Exception) -> None:
        with self._changed:
            self._closed = self._closed or reason
            self._changed.notify()

    def _turn(self) -> None:
        """Wait for work; then read one piece of a prompt, and add a token to all."""
        with self._changed:
            while not (self._queue or self.running or self._closed):
                self._changed.wait()
            self._part()
            self._admit()
        self._read()
        if self._rows.writes.any():
            self._write()

    def _part(self) -> None:
        """Let go of whom nobody waits for, and of those whose time has run out."""
        for slot, ticket in enumerate(self._slots):
            if ticket is None:
                continue
            if ticket.left:
                self.counts.left += 1
                self._free(slot)
            elif ticket.late():
                assert ticket.writing is not None
                _tell(ticket, ticket.writing.cut() if ticket.written else _too_late())
                self._free(slot)
        for ticket in [t for t in self._queue if t.left or t.late()]:
            self._queue.remove(ticket)
            self.counts.left += 1
            if not ticket.left:
                _tell(ticket, _too_late())

    def _admit(self) -> None:
        """Give the free slots to those that came first."""
        for slot, ticket in enumerate(self._slots):
            if ticket is not None or not self._queue:
                continue
            new = self._queue.popleft()
            job, rows = new.job, self._rows
            new.writing = Writing(self.tokenizer, job.ids, job.ends, job.stops)
            self._slots[slot] = new
            rows.begin(slot, job.ids)
            rows.scored[slot] = job.scored
            new.row = begun(job.grammar, rows.allowed[slot])
            rows.drawings.set(
                slot, job.seed, job.choice, job.sampling, self.model.vocab_size
            )
            self.counts.prompt_tokens += len(job.ids)

    def _read(self) -> None:
        """Read one piece of the prompt that came first; what is read whole is written.

        Of a prompt of one token nothing is read, and the slot is cleared all the same.
        """
        reading = [
            (ticket.began, slot, ticket)
            for slot, ticket in enumerate(self._slots)
            if ticket and (ticket.fresh or ticket.unread)
        ]
        if not reading:
            return
        _, slot, ticket = min(reading, key=lambda each: each[:2])
        count = min(ticket.unread, self.model.piece)
        ids = ticket.job.ids[ticket.read : ticket.read + count]
        self.model.read(slot, ids, ticket.read)
        ticket.read, ticket.fresh = ticket.read + count, False
        self._rows.writes[slot] = not ticket.unread

    def _write(self) -> None:
        """Add a token to each answer."""
        rows, step = self._rows, self.model.step(self._rows)
        self.counts.steps += 1
        for slot in np.flatnonzero(rows.writes).tolist():
            ticket = self._slots[slot]
            assert ticket is not None and ticket.writing is not None
            if not step.finite[slot]:
                _tell(ticket, NotFinite("The model's logits are not finite."))
                self._free(slot)
                continue
            self._add(slot, ticket, _token(step, slot, ticket.job.scored))

    def _add(self, slot: int, ticket: Ticket, token: Token) -> None:
        """Tell what an answer grew by, and free its slot where it ends."""
        rows, writing = self._rows, ticket.writing
        assert writing is not None
        if not ticket.written:
            self.counts.waited_seconds += time.monotonic() - ticket.began
        ticket.written += 1
        self.counts.written_tokens += 1
        rows.add(slot, token.id)
        window = self.model.window
        full = window is not None and int(rows.positions[slot]) >= window
        last = full or ticket.written == ticket.job.length
        try:
            why = ending(ticket.row, token.id, last, rows.allowed[slot])
        except UserError as error:
            _tell(ticket, error)
            self._free(slot)
            return
        piece = writing.add(token, why)
        if piece is None:
            return
        _tell(ticket, piece)
        if piece.reason is not None:
            self.counts.answered += 1
            self._free(slot)

    def _free(self, slot: int) -> None:
        self._slots[slot] = None
        self._rows.free(slot)


def _tell(ticket: Ticket, piece: Piece | Exception) -> None:
    # The loop that waited may be closed, where the server is shutting down.
    with suppress(RuntimeError):
        ticket.tell(piece)


def _too_late() -> Late:
    return Late("The time of the request ran out before its answer began.")


def _token(step: Step, slot: int, scored: bool) -> Token:
    drawn = int(step.tokens[slot])
    if not scored:
        return Token(drawn)
    scores = step.scores
    pairs = zip(scores.ids[slot].tolist(), scores.likeliest[slot].tolist(), strict=True)
    return Token(drawn, 0, float(scores.drawn[slot]), tuple(pairs))
