import os
import signal

import jax
import jax.numpy as jnp
import pytest

from lm_jax.training.guards import CompileGuard, Interrupt, Recompiled
from lm_jax.training.progress import Progress


def test_a_second_compilation_is_an_error_after_the_first_check():
    double = jax.jit(lambda x: x * 2)
    guard = CompileGuard({"double": double})
    double(jnp.ones(2))
    double(jnp.ones(3))  # before the first check, shapes may still differ
    guard.check()
    double(jnp.ones(3))
    guard.check()
    double(jnp.ones(4))
    with pytest.raises(Recompiled, match="double was compiled again"):
        guard.check()


@pytest.fixture
def python_handles_ctrl_c():
    """What a test process of several may have changed."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("python_handles_ctrl_c")
def test_the_first_signal_is_remembered_and_the_second_ends():
    with Interrupt() as interrupt:
        assert interrupt.received is None
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("python_handles_ctrl_c")
def test_a_signal_that_came_before_is_known_inside():
    """A sweep was told to stop while a run was set up: the run doesn't begin."""
    with Interrupt() as outer:
        os.kill(os.getpid(), signal.SIGINT)
        with Interrupt() as inner:
            assert inner.received == outer.received == signal.SIGINT
    with Interrupt(), Interrupt() as inner:
        os.kill(os.getpid(), signal.SIGINT)
        assert inner.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):  # the second ends, as it says
            os.kill(os.getpid(), signal.SIGINT)
    with Interrupt() as interrupt:
        assert interrupt.received is None


@pytest.fixture
def hang_up(request):
    """What a hang-up does before the test: end the process, or nothing."""
    before = signal.signal(signal.SIGHUP, request.param)
    yield request.param
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("hang_up", [signal.SIG_DFL], indirect=True)
def test_a_terminal_that_hangs_up_is_remembered_however_often(hang_up):
    """The kernel and the shell each send one; neither may end the saving."""
    with Interrupt() as interrupt:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
            assert interrupt.received == signal.SIGHUP
    assert signal.getsignal(signal.SIGHUP) == hang_up


@pytest.mark.parametrize("hang_up", [signal.SIG_IGN], indirect=True)
def test_under_nohup_a_terminal_that_hangs_up_is_nothing(hang_up):
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGHUP)
        assert interrupt.received is None


@pytest.mark.parametrize("gone", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_remembered_where_nothing_can_be_said(gone, monkeypatch):
    def closed(number, text):
        raise OSError(5, "Input/output error")

    before = signal.getsignal(gone)
    monkeypatch.setattr(os, "write", closed)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), gone)
        assert interrupt.received == gone
    assert signal.getsignal(gone) == before


def test_progress_finds_the_best_and_counts_what_came_after():
    nan = float("nan")
    progress = Progress([(1, 3.0), (2, 2.0), (3, nan), (4, 2.5)])
    assert progress.best == (2, 2.0)
    assert progress.waited() == 2
    assert Progress().best is None
    assert Progress([(1, nan)]).waited() == 1


def test_the_best_of_a_score_is_the_largest_and_of_a_loss_the_smallest():
    for larger, best in ((True, (2, -0.9)), (False, (1, 0.2))):
        progress = Progress()
        for step, score in ((1, 0.2), (2, 0.9), (3, 0.5)):
            progress.add(step, score, larger)
        assert progress.best == best
        assert progress.is_best(best[0]) and progress.waited() == 3 - best[0]
