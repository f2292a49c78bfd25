"""The clock of a run: what is paused is no time of training, while it lasts too."""

from lm_jax.training import progress
from lm_jax.training.progress import Clock


def test_a_pause_has_no_share_in_the_speed_while_it_lasts(monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now)
    clock = Clock()
    for _ in range(11):
        clock.step(waited=0.1)
        now += 1.0
    now -= 1.0
    assert clock.steps_per_second() == 1.0
    with clock.paused():
        now += 90.0
        assert clock.steps_per_second() == 1.0
        assert abs(clock.data_wait() - 0.1) < 1e-9
    assert clock.steps_per_second() == 1.0
