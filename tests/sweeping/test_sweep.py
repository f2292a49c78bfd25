"""A sweep does what is left, says what failed, and judges only when all is there."""

import json
import os
import shutil
import signal
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import jax
import pytest
from rich.cells import cell_len
from scipy import stats

import lm_jax
from lm_jax.__main__ import main
from lm_jax.ablation import PublishedEffect, Study
from lm_jax.ablation.plan import make_plan
from lm_jax.ablation.states import state_of
from lm_jax.errors import Diverged, UserError
from lm_jax.experiment import digest, load, save
from lm_jax.runs.code import own_code
from lm_jax.runs.directory import open_run
from lm_jax.runs.display import Display
from lm_jax.statistics import words
from lm_jax.statistics.report import read_report
from lm_jax.sweeping import cells, checks, preview
from lm_jax.sweeping import sweep as sweeping
from lm_jax.sweeping.cells import Warm, run_cell
from lm_jax.sweeping.sweep import carry_out
from lm_jax.training import memory
from lm_jax.training.initial import Start
from tests.tiny import EXPERIMENT, write_tiny

VARIANTS = """
from lm_jax.ablation import Study
study = Study(seeds=2, smallest=0.05)
experiment = replace(
    experiment,
    budget="2 steps",
    average=None,
    evaluations={"likelihood": Likelihood("2 steps")},
    outputs=(),
)
model = experiment.model
variants = {"wide": replace(experiment, model=model.clone(width=32))}
"""


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    Path(tmp_path, "tiny.py").write_text(EXPERIMENT + VARIANTS)
    monkeypatch.chdir(tmp_path)


RESOLVED = {}


@pytest.fixture(autouse=True)
def resolved_once(monkeypatch):
    """What the variants resolve to is the same in all of these tests."""
    resolve = sweeping.resolve

    def once(plan, progress, devices):
        key = plan.variants, plan.study.measure
        if key not in RESOLVED:
            RESOLVED[key] = resolve(plan, progress, devices)
        return RESOLVED[key]

    monkeypatch.setattr(sweeping, "resolve", once)


def plan(study=Study(seeds=5), folder="runs/tiny"):
    experiment = load("tiny.py").experiment
    both = {"base": experiment, "wide": load("tiny.py:wide").experiment}
    return make_plan(both, Path(folder), study)


class Stub:
    """Trains nothing: writes what a run that ended has; keeps what it was asked."""

    def __init__(self, **fails):
        self.asked, self.fails = [], fails

    def __call__(self, cell, display):
        self.asked.append(cell.title)
        if fails := self.fails.get(cell.title.replace(" ", "_")):
            fails()
        end(cell)


def end(cell, sources=None, score=None):
    begin(cell, sources)
    if score is None:
        off = (0.2 - 0.002 * cell.seed) * (cell.variant != "base")
        score = 2.0 + 0.01 * cell.seed + off
    entry = {
        "evaluation": "likelihood",
        "split": "validation",
        "step": 2,
        "corpus": "text.txt",
        "policy": "windows",
        "scores": {"loss": score},
    }
    result = {"watch": "likelihood", "corpus": "text.txt", "policy": "windows"}
    result |= {"recipe": digest(cell.experiment), "scores": [entry], "steps": 2}
    result |= {"larger_is_better": False, "best": {"loss": score, "step": 2}}
    result |= {"trained_with": [code(sources)]}
    result |= {"tokens": 32, "parameters": 9, "seconds": 1.0}
    (cell.run / "result.json").write_text(json.dumps(result))


def begin(cell, sources=None):
    cell.run.mkdir(parents=True, exist_ok=True)
    for name, content in save(cell.experiment).items():
        (cell.run / name).write_bytes(content)
    starts = [{"code": code(sources)}]
    (cell.run / "environment.json").write_text(json.dumps(starts))


def code(sources=None):
    return own_code() | ({"sources": sources} if sources else {})


def swept(launch, study=Study(seeds=5)):
    return carry_out(plan(study), Display(0), launch)


def told(report):
    return " ".join(" ".join(words.lines(report)).split())


@pytest.mark.slow
def test_from_the_command_to_the_table(capsys, monkeypatch):
    """Four runs of two steps; again, it only reports; from Python, the same."""
    made, make = [], cells.Compiled
    monkeypatch.setattr(
        cells, "Compiled", lambda setup: made.append(make(setup)) or made[-1]
    )
    assert main(["sweep", "tiny.py"]) == 0
    # The seeds of a variant share what is compiled.
    assert [each.step._cache_size() for each in made] == [1, 1]
    assert [each.evaluation._cache_size() for each in made] == [1, 1]
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert "wide seed 1  ended" in said and "wide against base: no verdict." in said
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.json*")}
    assert main(["sweep", "tiny.py"]) == 0
    table = said[said.index("runs/tiny: validation loss") :]
    assert capsys.readouterr().out.endswith(table)
    both = {name: load(f"tiny.py:{name}").experiment for name in ("base", "wide")}
    report = lm_jax.sweep(both, "runs/tiny", Study(seeds=2, smallest=0.05))
    after = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.json*")}
    assert before == after
    assert report.scores["base"][0] != report.scores["base"][1]
    alone = lm_jax.train(replace(both["wide"], seed=1), "runs/alone")
    assert report.scores["wide"][1] == alone["scores"][-1]["scores"]["loss"]
    sizes = {cell.run: (cell.run / "metrics.jsonl").exists() for cell in report.states}
    assert all(sizes.values()) and len(sizes) == 4


def test_what_goes_on_shares_nothing_with_what_begins():
    """It has not read what its first parameters would begin with."""
    warm, (first, other, *_) = Warm(), plan().cells
    begun = cells.set_up(first.experiment)
    new = replace(begun, start=Start({}, lambda params, _: params, []))
    shared = warm.compiled(first, begun)
    assert warm.compiled(first, begun) is shared
    assert warm.compiled(other, begun) is not shared
    fresh = warm.compiled(first, new)
    assert fresh is not shared and warm.compiled(first, new) is fresh
    longer = replace(first, experiment=replace(first.experiment, budget="3 steps"))
    assert warm.compiled(longer, new) is not fresh


def test_programs_are_told_in_one_object(capsys, monkeypatch):
    """By the sweep that ends, and by the report of its folder."""
    stub = Stub()
    monkeypatch.setattr(sweeping, "run_cell", lambda c, display, warm: stub(c, display))
    assert main(["sweep", "tiny.py", "--seeds", "5", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [run["state"] for run in said["runs"]] == ["ended"] * 10
    base, wide = said["variants"]
    assert base["verdict"] == "reference" and base["difference"] is None
    assert wide["verdict"] == "worse" and wide["difference"] > 0
    assert wide["mean"] == pytest.approx(sum(wide[f"seed{k}"] for k in range(5)) / 5)
    assert main(["report", "runs/tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reports"] == [said]
    assert not Path("runs/tiny/report.html").exists()


@pytest.mark.slow
def test_a_preview_measures_and_writes_nothing(capsys):
    assert main(["sweep", "tiny.py", "--preview"]) == 0
    said = capsys.readouterr().out
    for k, name in enumerate(("base", "wide"), 1):
        assert f"measuring a few steps of {name}, {k} of 2\n" in said
    head, base, wide, whole, _ = said[said.index("  a run of") :].splitlines()
    assert "parameters  tokens" in head
    (few, tokens, *_), (many, *_) = (line.split()[1:] for line in (base, wide))
    assert float(few.strip("k")) < float(many.strip("k")) and tokens == "256"
    assert whole.split()[:3] == ["all", "4", "1.02k"]
    assert not Path("runs").exists()


class Large:
    """A step that is compiled for nothing, and plans for more memory than there is."""

    argument_size_in_bytes, temp_size_in_bytes = 1_000_000, 2_000_000
    output_size_in_bytes = alias_size_in_bytes = 0

    def __getattr__(self, name):
        return lambda *_: self


def test_a_preview_refuses_what_does_not_fit(capsys, monkeypatch):
    """It names the variant and what to do; nothing is measured or written."""
    monkeypatch.setattr(memory, "machine_memory", lambda: 16_000_000)
    monkeypatch.setattr(preview, "Compiled", lambda setup: Large())
    assert main(["sweep", "tiny.py", "--preview"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "base: A step of 8 rows of 16 tokens needs 3.00 MB of memory" in said
    assert "there are 2.00 MB. No batch fits: take a smaller model" in said
    assert not Path("runs").exists()


def test_all_cells_end_and_the_difference_is_judged():
    launch = Stub()
    report = swept(launch)
    assert launch.asked[:3] == ["base seed 0", "wide seed 0", "base seed 1"]
    assert report.lacking == [] and report.comparisons["wide"].verdict == "worse"
    assert report.comparisons["wide"].mean == pytest.approx(0.196)
    assert "wide against base: worse." in told(report)
    assert "<0.0001 0.0625" in told(report)


def test_the_folder_alone_gives_the_same_report():
    effect = PublishedEffect(0.2, "Su et al. 2021, Table 2")
    report = swept(Stub(), Study(seeds=5, published={"wide": effect}))
    again = read_report(Path("runs/tiny"))
    assert again.study == report.study and again.comparisons == report.comparisons
    assert told(again) == told(report)
    beside = "wide: +0.2 was published (Su et al. 2021, Table 2), +0.1960 is ours: "
    assert beside + "direction agrees, ours is smaller." in told(again)
    shutil.rmtree("runs/tiny/base/seed3")
    begin(plan().cells[3])
    end(plan().cells[0], sources="earlier")
    words_of = {
        p.title: state.word for p, state in read_report(again.folder).states.items()
    }
    assert words_of["base seed 3"] == "missing" and words_of["wide seed 1"] == "ended"
    assert words_of["base seed 0"] == "other code"
    assert "No verdict: 2 of 10 runs" in told(read_report(again.folder))


def test_a_result_of_another_recipe_does_not_count_in_its_folder():
    swept(Stub())
    path = Path("runs/tiny/wide/seed1/result.json")
    path.write_text(path.read_text().replace('"recipe": "', '"recipe": "0'))
    assert "wide seed 1: other recipe" in told(read_report(Path("runs/tiny")))


def test_a_result_that_lacks_what_all_have_is_named_and_the_others_count():
    swept(Stub())
    path = Path("runs/tiny/wide/seed1/result.json")
    path.write_text('{"a": 1}')
    report = read_report(Path("runs/tiny"))
    assert "1 of 10 runs don't count (wide seed 1: failed)" in told(report)
    launch = Stub()
    assert swept(launch).lacking == [] and launch.asked == ["wide seed 1"]
    path.write_text('{"a": 1}')
    cell = plan().cells[3]
    assert "result.json lacks corpus, " in state_of(cell, code()["sources"]).told


def test_a_copy_of_a_run_is_no_further_seed():
    swept(Stub())
    shutil.rmtree("runs/tiny/wide/seed1")
    shutil.copytree("runs/tiny/wide/seed0", "runs/tiny/wide/seed1")
    said = told(read_report(Path("runs/tiny")))
    assert "No verdict: 1 of 10 runs don't count (wide seed 1: other recipe)" in said


def test_what_has_ended_stays_what_it_was_where_other_code_starts_it_again():
    """It finds nothing left to train, and notes that it looked."""
    swept(Stub())
    path = plan().cells[0].run / "environment.json"
    starts = json.loads(path.read_text())
    path.write_text(json.dumps([*starts, {"code": {"sources": "later"}}]))
    assert read_report(Path("runs/tiny")).comparisons["wide"].verdict == "worse"


def test_what_was_trained_alone_is_no_part_of_seeds_that_are_trained_together():
    """Their differences would be rounding's, too."""
    end(plan().cells[0])
    together = replace(plan(), together=2)
    with pytest.raises(UserError, match="execution.together: 1 there, 2 now"):
        carry_out(together, Display(0))


def test_runs_that_patience_ends_are_not_compared():
    Path("tiny.py").write_text(
        EXPERIMENT + VARIANTS + "variants['wide'] = replace(variants['wide'], "
        "patience=2)\n"
    )
    with pytest.raises(UserError, match="wide: patience=2 ends runs after different"):
        swept(Stub())


def test_a_cell_that_fails_is_said_and_the_others_go_on(capsys):
    def diverge():
        raise Diverged("The loss is not finite.")

    def fault():
        raise ZeroDivisionError("ours")

    launch = Stub(wide_seed_0=diverge, base_seed_3=fault)
    Path("runs/tiny/base/seed3").mkdir(parents=True)
    report = swept(launch)
    assert len(launch.asked) == 10
    said = capsys.readouterr().out
    assert "The loss is not finite." in said and "ZeroDivisionError: ours" in said
    assert "fault" in Path("runs/tiny/base/seed3/failed.log").read_text()
    assert report.comparisons == {}
    missing = "No verdict: 2 of 10 runs don't count (wide seed 0: failed; base seed 3"
    assert missing in told(report)
    again = Stub()
    report = swept(again)
    assert again.asked == ["wide seed 0", "base seed 3"] and report.comparisons


def test_what_another_sweep_has_begun_meanwhile_has_not_failed():
    cell = plan().cells[2]
    with ExitStack() as stack:

        def refused():
            begin(cell)
            stack.enter_context(open_run(cell.run))
            raise UserError("The run is in use.")

        report = swept(Stub(base_seed_1=refused))
    assert "base seed 1: running" in told(report) and len(report.lacking) == 1


def test_what_was_killed_is_taken_up_again():
    begin(plan().cells[0])
    launch = Stub()
    swept(launch)
    assert launch.asked[0] == "base seed 0" and len(launch.asked) == 10


def test_a_signal_stops_the_sweep_and_the_rest_is_done_later():
    launch = Stub(base_seed_1=lambda: os.kill(os.getpid(), signal.SIGTERM))
    report = swept(launch)
    assert report.signal == signal.SIGTERM and launch.asked[-1] == "base seed 1"
    assert len(report.lacking) == 7 and "No verdict: 7 of 10 runs" in told(report)
    later = Stub()
    assert swept(later).signal is None and len(later.asked) == 7


def test_a_signal_that_a_run_obeyed_stops_the_sweep():
    report = swept(lambda cell, display: begin(cell) or signal.SIGINT)
    assert report.signal == signal.SIGINT and len(report.lacking) == 10


def test_another_plan_is_refused_before_anything_runs():
    swept(Stub())
    launch = Stub()
    with pytest.raises(UserError, match="study.seeds: 5 there, 6 now"):
        swept(launch, Study(seeds=6))
    assert launch.asked == []


def test_a_cell_of_other_code_gives_no_verdict():
    swept(Stub())
    cell = plan().cells[0]
    end(cell, sources="earlier")
    report = swept(Stub())
    assert "base seed 0: other code" in told(report) and not report.comparisons


def test_runs_of_other_code_or_recipe_are_not_taken_for_new_cells():
    end(plan().cells[0], sources="earlier")
    with pytest.raises(UserError, match="(?s)base/seed0: made by earlier.*--out"):
        swept(Stub())
    assert not Path("runs/tiny/sweep.json").exists()
    cell = plan().cells[0]
    begin(replace(cell, experiment=replace(cell.experiment, batch=16)))
    with pytest.raises(UserError, match="batch: 16 there, 8 now"):
        swept(Stub())


def test_other_code_shows_what_has_ended_and_trains_nothing(monkeypatch):
    swept(Stub())
    later = own_code() | {"sources": "later"}
    for module in ("ablation.plan_file", "sweeping.sweep"):
        monkeypatch.setattr(f"lm_jax.{module}.own_code", lambda: later)
    assert swept(Stub()).comparisons["wide"].verdict == "worse"
    (Path("runs/tiny/wide/seed4") / "result.json").unlink()
    with pytest.raises(UserError, match="the code of lm_jax"):
        swept(Stub())


def test_a_target_needs_no_other_variant():
    """Scores are 2.00, 2.01, ... 2.04: their mean has a standard error of 0.007."""
    experiment = load("tiny.py").experiment
    for target, word in ((2.05, "better than"), (2.03, "not shown better than")):
        asked = make_plan(
            {"base": experiment}, Path(f"runs/{target}"), Study(target=target)
        )
        found = carry_out(asked, Display(0), Stub())
        assert f"base: 2.020 is {word} the target of {target}" in told(found)
        known = stats.ttest_1samp(
            [2, 2.01, 2.02, 2.03, 2.04], target, alternative="less"
        )
        assert found.targets["base"] == pytest.approx(known.pvalue)
        assert told(read_report(Path(f"runs/{target}"))) == told(found)
    with pytest.raises(UserError, match="or a score to be better than"):
        make_plan({"base": experiment}, Path("runs/none"), Study())


def test_several_means_beside_a_target_err_together_as_often_as_one():
    """And fewer than 5 seeds judge none."""
    found = swept(Stub(), Study(seeds=5, target=2.05))
    alone = stats.ttest_1samp([2, 2.01, 2.02, 2.03, 2.04], 2.05, alternative="less")
    assert found.targets["base"] == pytest.approx(2 * alone.pvalue)
    assert "one-sided t of 5 seeds, by Holm's procedure over 2 variants" in told(found)
    few = carry_out(plan(Study(seeds=4, target=9.0), "runs/few"), Display(0), Stub())
    assert few.targets["base"] < 0.001
    assert "base: 2.015 is not judged (that needs 5 seeds) beside the" in told(few)


def test_a_full_disk_is_said_before(monkeypatch):
    free = type("Free", (), {"free": 10})
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: free)
    with pytest.raises(UserError, match="10 runs take about .* and 10 B are free"):
        swept(Stub())


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_saves_and_goes_on(monkeypatch):
    """The signal comes while the run is set up: it makes a step, and saves."""
    cell = plan().cells[0]
    prepare = cells.set_up

    def interrupted(*args, **named):
        os.kill(os.getpid(), signal.SIGTERM)
        return prepare(*args, **named)

    monkeypatch.setattr(cells, "set_up", interrupted)
    report = swept(run_cell)
    assert report.signal == signal.SIGTERM
    assert (cell.run / "checkpoints" / "1").is_dir()
    assert {state.word for state in report.states.values()} == {"stopped", "missing"}


REFUSED = [
    ("--variants wid", "Did you mean 'wide'?"),
    ("--variants wide,wide", "'wide' comes twice"),
    ("--variants base", "There is nothing to compare"),
    ("--seeds 1", "1 seed can't tell a difference from chance"),
    ("--grid model.layers=1,1", "a value comes twice"),
    ("--set model.layers", "--set 'model.layers': give a field and its value"),
    ("--set model.layer=2", "Did you mean --model.layers"),
    ("--set batch=2 batch=3", "--set batch: it is given by --set twice"),
    ("--set batch=2 --grid batch=2,3", "--set batch: it is given by --grid too"),
    ("--grid batch=2,,3", "nothing beside a comma"),
    ("--set seed=1", "is said by --seeds"),
    ("--grid model.layers=1,2 --grid seed=1", "--grid was given twice. Give it once"),
    ("--grid model.layers=1,01", "'layers=01' is the same as 'layers=1'"),
    ("--grid execution.keep=1,2", "'keep=2' is the same as 'keep=1'"),
    ("--grid model.layer=2,4", "Did you mean --model.layers"),
    ("--grid model.layers", "--grid 'model.layers': give a field and its values"),
    ("--grid seed=1,2", "is said by --seeds"),
    ("--grid model.heads=2,3", "heads=3:"),
    ("--grid data.context=8,16", "disjoint windows of 8 tokens there"),
    ("--grid data.tokenizer=Characters,Bytes", "bits_per_byte"),
]


@pytest.mark.parametrize(("args", "said"), REFUSED)
def test_what_cannot_be_compared_is_one_message(args, said, capsys, monkeypatch):
    def compiles(*args, **named):
        raise AssertionError("compiled")

    monkeypatch.setattr(jax.stages.Lowered, "compile", compiles)
    assert main(["sweep", "tiny.py", *args.split()]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("study = 8", "'study' is a int"),
        ("study = Study(measure='accuracy')", "study.measure 'accuracy'"),
        ("variants = {'same': replace(experiment, seed=4)}", "'same' is the same as"),
        (
            "from lm_jax.ablation import PublishedEffect as Effect\n"
            "study = Study(published={'wid': Effect(0.1, 'Su')})",
            "study.published: tiny.py has no 'wid'. Did you mean 'wide'?",
        ),
    ],
)
def test_a_file_that_asks_what_cannot_be_is_one_message(line, said, capsys):
    Path("tiny.py").write_text(f"{EXPERIMENT}{VARIANTS}\n{line}\n")
    assert main(["sweep", "tiny.py"]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_names_in_wide_letters_keep_the_columns():
    experiment, wide = (load(name).experiment for name in ("tiny.py", "tiny.py:wide"))
    names = {"base": experiment, "名字": wide}
    named = make_plan(names, Path("runs/tiny"), Study(seeds=5))
    report = carry_out(named, Display(0), Stub())
    scores = [*words.lines(report)][2:4]
    ends = [cell_len(line[: line.index("2.")]) for line in scores]
    assert ends[0] == ends[1]
