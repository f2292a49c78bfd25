"""Where the time of a run goes: phases, restarts, a trace of some steps."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from lm_jax.__main__ import main
from lm_jax.chips import PEAKS
from lm_jax.runs.checkpoints import read_progress
from lm_jax.runs.metrics import read_metrics
from lm_jax.runs.result import read_result
from lm_jax.training import clock as clocks
from lm_jax.training.clock import Clock
from lm_jax.training.spent import spent, told
from tests.tiny import write_tiny


def test_phases_are_all_the_time_there_is_and_steps_alone_have_a_rate(monkeypatch):
    now = 0.0
    monkeypatch.setattr(clocks.time, "perf_counter", lambda: now)
    clock = Clock("restart", 2.0)
    clock.add_past({"step": 5.0, "start": 1.0}, last=9.0)
    now = 1.0
    with clock.during("compiling"):
        now += 4.0
    clock.now("step")
    for _ in range(11):
        now += 1.0
        clock.step(waited=0.125)
    assert clock.steps_per_second() == 1.0
    with clock.during("evaluation"):
        now += 60.0
        monkeypatch.setattr(clocks, "_compiled", clocks._compiled + 20.0)
        with clock.during("samples"):
            now += 30.0
            assert clock.steps_per_second() == 1.0
            assert abs(clock.data_wait() - 0.125) < 1e-9
    assert clock.steps_per_second() == 1.0
    found = clock.seconds()
    assert found.pop("data") == pytest.approx(1.375)
    assert found == {
        **{"start": 1.0, "restart": 3.0, "compiling": 24.0, "evaluation": 40.0},
        **{"samples": 30.0, "step": pytest.approx(14.625), "lost": 3.0},
    }
    assert list(found) == [name for name in clocks.PHASES if name in found]
    assert clock.total() == pytest.approx(117.0)


def test_goodput_and_mfu_are_shares_of_what_was_there():
    peak = PEAKS["NVIDIA H200"]
    seconds = {"start": 10.0, "step": 30.0, "lost": 10.0}
    found = spent(seconds, 2, 0.4 * peak, "NVIDIA H200")
    assert found["goodput"] == 0.6 and found["mfu"] == 0.4
    assert told(found) == (
        "Time 50s over 2 starts: step 30s, start 10s, lost 10s. Goodput, what of "
        "it went into steps that were kept: 60.0%. MFU (of the device's peak) 40.0%."
    )
    assert "mfu" not in spent({"step": 30.0}, 1, peak, "cpu")


def train(*words):
    return main(["train", "tiny.py", "--run", "run", *words])


def traced():
    (path,) = Path("run/profile/steps_5_to_7").rglob("perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    steps = {e["args"]["step_num"] for e in events if e.get("name") == "train"}
    return sorted(map(int, steps))


@pytest.mark.slow
def test_steps_are_traced_and_a_run_taken_up_again_adds_its_time(
    tmp_path, monkeypatch, capsys
):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert train("--profile", "5-7") == 2 and train("--profile", "5:13") == 2
    assert "the run has 12 steps" in capsys.readouterr().err
    assert not Path("run").exists()
    assert train("--profile", "5:7") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "xprof --logdir run/profile/steps_5_to_7" in said and "Goodput" in said
    assert traced() == [5, 6, 7]
    first = read_result(Path("run"))
    phases = first["seconds_by_phase"]
    assert {*phases} == set(clocks.PHASES) - {"restart", "lost"}
    assert first["seconds"] == pytest.approx(sum(phases.values()))
    assert first["goodput"] == phases["step"] / first["seconds"]
    # As if it had been killed before step 12 was saved.
    made = max(r.get("seconds", 0) for r in read_metrics(Path("run/metrics.jsonl")))
    shutil.rmtree("run/checkpoints/12")
    Path("run/result.json").unlink()
    kept = read_progress(Path("run/checkpoints/8"))["seconds"]
    assert train("--profile", "5:7") == 2
    assert "8 are made already" in capsys.readouterr().err
    assert train() == 0
    again = read_result(Path("run"))
    after = again["seconds_by_phase"]
    assert after["lost"] == pytest.approx(made - sum(kept.values()), abs=2e-3)
    assert all(after[name] >= seconds for name, seconds in kept.items())
    assert after["restart"] > 0 and again["starts"] == 2
    assert after["step"] < phases["step"] + kept["step"]
    assert "over 2 starts" in capsys.readouterr().out
