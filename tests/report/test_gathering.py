"""Sweeps and runs are read from their folders; what isn't alike is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lm_jax.ablation import Study
from lm_jax.errors import UserError
from lm_jax.evaluation import Accuracy
from lm_jax.report.gathering import gather
from lm_jax.runs.result import mark_longer
from tests.report.made import begin, end, made


def test_a_sweep_is_read_without_its_file():
    made()
    Path("tiny.py").unlink()
    found = gather([Path("runs/tiny")])
    assert [v.name for v in found.variants] == ["base", "wide"]
    assert [len(v.members) for v in found.variants] == [5, 5]
    assert found.variants[1].fields["model.width"] == "32"
    assert found.reports[0].comparisons["wide"].verdict == "worse"
    assert found.axes == ["step", "token", "FLOP", "time"]
    base, wide = found.variants
    assert (base.a_step("token"), base.a_step("time")) == (100.0, 0.5)
    assert (base.a_step("FLOP"), wide.a_step("FLOP")) == (1e6, 5e5)


def test_a_run_that_is_made_longer_is_shown_as_unfinished():
    plan = made()
    mark_longer(plan.cells[0].run, "40 steps")
    for folders in (["runs/tiny"], ["runs/tiny/base", "runs/tiny/wide"]):
        (report,) = gather([Path(each) for each in folders]).reports
        words = [state.word for state in report.states.values()]
        assert words.count("stopped") == 1 and words.count("ended") == 9
        assert sum(map(len, report.scores.values())) == 9


def test_an_axis_that_a_variant_lacks_is_not_offered():
    plan = made()
    for cell in plan.cells:
        if cell.variant == "wide":
            end(cell, 12, flops=None)
    assert gather([Path("runs/tiny")]).axes == ["step", "token", "time"]


def test_one_run_has_no_verdict_and_no_difference():
    plan = made()
    found = gather([plan.cells[0].run])
    (report,), (variant,) = found.reports, found.variants
    assert not report.planned and not report.against
    assert report.scores == {variant.name: {0: 2.0}}


def test_runs_of_two_recipes_are_compared_by_seed_and_not_judged():
    made()
    for name in ("base", "wide"):
        shutil.copytree(f"runs/tiny/{name}", f"own/{name}")
    shutil.rmtree("own/wide/seed4")
    (report,) = gather([Path("own/base"), Path("own/wide")]).reports
    found = report.comparisons["wide"]
    assert found.verdict == "no plan, no verdict" and len(found.differences) == 4
    assert found.differences[1] == pytest.approx(0.198)


def test_what_a_sweep_tuned_by_is_shown_only_where_it_is_asked_for():
    cell = made().cells[0]
    tried = replace(cell.experiment, batch=16)
    begin(replace(cell, run=Path("runs/tiny/base/trial0"), experiment=tried), 12)
    found = gather([Path("runs/tiny/base"), Path("runs/tiny/wide")])
    assert [v.name for v in found.variants] == ["base", "wide"]
    assert len(gather([Path("runs/tiny/base/trial0")]).variants) == 1


def test_seeds_of_one_recipe_are_one_variant_and_the_same_seed_twice_are_two():
    made()
    for seed in (0, 1):
        shutil.copytree(f"runs/tiny/base/seed{seed}", f"own/mine{seed}")
    (variant,) = gather([Path("own/mine0"), Path("own/mine1")]).variants
    assert [member.place.seed for member in variant.members] == [0, 1]
    shutil.copytree("own/mine0", "own/again")
    names = [variant.name for variant in gather([Path("own")]).variants]
    assert names == ["again", "mine0", "mine1"]


def test_a_sweep_beside_a_run_is_named_by_its_folder():
    made()
    cell = made(folder="runs/other").cells[0]
    found = gather([Path("runs/tiny"), cell.run, Path("runs/tiny")])
    assert len(found.reports) == 2 and found.reports[0].planned
    assert [v.name for v in found.variants] == ["tiny/base", "tiny/wide", "base"]


def refused(cell, **changed):
    end(cell, 12, **changed)
    with pytest.raises(UserError) as caught:
        gather([Path("runs/tiny/base"), Path("runs/tiny/wide")])
    return " ".join(str(caught.value).split())


def test_other_data_and_other_evaluations_are_refused_with_the_difference():
    cell = made().cells[1]
    said = refused(cell, policy="all before it")
    assert "'wide seed 0' doesn't belong in one report with 'base seed 0'" in said
    assert "seen before each token: windows there, all before it here" in said
    (cell.run / "data.json").write_text(json.dumps({"text": "u", "digest": "d"}))
    assert "content or split of the text: t there, u here" in refused(cell)
    shutil.rmtree(cell.run)
    by_accuracy = replace(cell.experiment, evaluations={"likelihood": Accuracy()})
    cell = replace(cell, experiment=by_accuracy)
    begin(cell, 12)
    said = "evaluation: Likelihood(every=None) there, Accuracy(every=None) here"
    assert said in refused(cell)


@pytest.mark.parametrize("measure", ["loss", "bits_per_byte"])
def test_other_tokens_are_no_matter_to_bits_per_byte(measure):
    study = Study(seeds=2, measure=measure)
    made(study=study)
    for cell in made(study=study, folder="runs/other").cells:
        (cell.run / "data.json").write_text('{"text": "t", "digest": "other"}')
    sweeps = [Path("runs/tiny"), Path("runs/other")]
    if measure == "bits_per_byte":
        assert len(gather(sweeps).variants) == 4
        for folder, many in (("tiny", 100), ("other", 98)):
            kept = {"text": "t", "digest": folder, "bytes": many}
            path = Path(f"runs/{folder}/base/seed0/data.json")
            path.write_text(json.dumps(kept))
        with pytest.raises(UserError, match="bytes of the validation split: 100 there"):
            gather(sweeps)
        return
    with pytest.raises(UserError, match="tokens: d there, other here"):
        gather(sweeps)


def test_what_is_no_run_is_said():
    with pytest.raises(UserError, match="There is no nowhere"):
        gather([Path("nowhere")])
