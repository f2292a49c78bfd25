"""`bench laws` counts the intervals that hold what was planted."""

from functools import partial

from lm_jax.commands import bench_laws
from lm_jax.commands.bench_laws import Options, counted
from lm_jax.laws.bootstrap import Bootstrap, bootstrap
from lm_jax.runs.display import Display


def test_what_holds_is_counted(monkeypatch):
    monkeypatch.setattr(bench_laws, "bootstrap", partial(bootstrap, draws=60))
    asked = Options(ladders=4, noise=0.001)
    found = counted("small", asked, Display(0))
    assert found["refused"] == 0
    assert set(found["held"]) == {*"EAB", "alpha", "beta", "loss of a larger run"}
    assert found == counted("small", asked, Display(0))
    assert sum(found["held"].values()) >= 4
    monkeypatch.setattr(Bootstrap, "interval", lambda self, of: (1e9, 2e9))
    assert set(counted("small", asked, Display(0))["held"].values()) == {0.0}
