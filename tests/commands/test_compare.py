"""`compare` answers in its exit status, and refuses what can't be compared."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lm_jax.__main__ import main
from lm_jax.ablation import Study, log_uniform
from lm_jax.ablation.tune import Chosen, keep_chosen
from lm_jax.experiment import save
from tests.report.made import end, made, tiny
from tests.tiny import write_tiny

RESULT = {
    "corpus": "text",
    "text": "aaa",
    "policy": "windows of 8",
    "watch": "likelihood",
    "larger_is_better": False,
    "best": {"step": 4, "loss": 1.0},
    "steps": 4,
    "tokens": 100,
    "parameters": 10,
    "seconds": 1.0,
    "model": "M",
}
BASE = [2.0, 2.1, 1.9, 2.05, 1.95, 2.02, 1.98, 2.03, 2.04]


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(folder, losses, first=0, score="loss", **changed):
    """Results of some seeds, as runs that ended leave them."""
    for seed, loss in enumerate(losses, first):
        result = RESULT | {"recipe": folder} | changed
        place = {"evaluation": "likelihood", "step": result["steps"]}
        place |= {name: result[name] for name in ("corpus", "text", "policy")}
        entry = place | {"split": "validation", "scores": {score: loss}}
        run = Path(folder, f"seed{seed}")
        run.mkdir(parents=True)
        (run / "result.json").write_text(json.dumps(result | {"scores": [entry]}))


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        ("bleu", "better"),
        ("answered_f1", "better"),
        ("ndcg@10", "better"),
        ("qa7", "better"),
        ("masked_accuracy", "better"),
        ("perplexity", "worse"),
        ("spelling_bits_per_byte", "worse"),
        ("pair_loss", "worse"),
        ("calibration_error", "worse"),
    ],
)
def test_more_of_a_score_is_better_or_worse_whatever_runs_watch(score, verdict, capsys):
    write("a", BASE, score=score)
    write("b", shifted(0.1, 9), score=score)
    main(["compare", "a", "b", "--measure", score])
    assert f"B against A: {verdict}." in capsys.readouterr().out


def shifted(by, pairs):
    """Losses that differ by this from the base's, more or less."""
    return [x + by + 0.001 * (-1) ** k for k, x in enumerate(BASE[:pairs])]


@pytest.mark.parametrize(
    "by, pairs, options, status, verdict",
    [
        (-0.1, 9, (), 0, "better"),
        (0.1, 5, (), 1, "worse"),
        (0.0, 9, (), 3, "inconclusive"),
        (-0.1, 4, (), 3, "too few seeds"),
        (-0.1, 9, ("--level", "0.001"), 3, "inconclusive"),
        (-0.1, 9, ("--smallest", "0.2"), 3, "no difference larger than 0.2"),
    ],
)
def test_the_status_is_the_verdict(by, pairs, options, status, verdict, capsys):
    write("a", BASE[:pairs])
    write("b", shifted(by, pairs))
    assert main(["compare", "a", "b", *options]) == status
    said = capsys.readouterr()
    assert f"B against A: {verdict}." in said.out and not said.err
    assert max(map(len, said.out.splitlines())) <= 80
    assert main(["compare", "a", "b", "--json", *options]) == status
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == verdict
    assert found["difference"] == pytest.approx(by, abs=1e-3)


def test_scores_by_other_code_than_the_runs_are_said(capsys):
    trained = {"trained_with": [{"sources": "then"}]}
    write("a", BASE[:5], **trained)
    write("b", shifted(-0.1, 5), **trained)
    path = Path("b/seed0/result.json")
    result = json.loads(path.read_text())
    result["scores"][0]["code"] = {"sources": "now"}
    path.write_text(json.dumps(result))
    assert main(["compare", "a", "b"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert (
        said == "Some scores are of other code than their runs, by a later `evaluate`."
    )


def test_only_seeds_that_both_have_are_pairs(capsys):
    write("a", BASE)
    write("b", shifted(-0.1, 7)[2:], first=2)
    assert main(["compare", "a", "b", "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["seeds"] == [2, 3, 4, 5, 6]
    assert found["scores"]["a"] == BASE[2:7]
    assert "Seeds 0, 1, 7, 8 are in one of them only" in said.err
    assert found["notes"]


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"text": "bbb"}, "digest of the text: aaa there, bbb here"),
        ({"policy": "windows of 9"}, "seen before each token: windows of 8 there"),
        ({"corpus": "other"}, "text: text there, other here"),
    ],
)
def test_what_is_scored_otherwise_is_refused(changed, told, capsys):
    write("a", BASE)
    write("b", BASE, **changed)
    assert main(["compare", "a", "b"]) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_scores_of_longer_windows_are_compared_where_they_are_asked_for(capsys):
    """Whatever the windows of training's own evaluations were."""
    write("a", BASE[:5])
    write("b", shifted(0.1, 5), policy="windows of 9")
    for folder, losses in (("a", BASE), ("b", shifted(-0.1, 5))):
        for seed in range(5):
            path = Path(folder, f"seed{seed}", "result.json")
            result = json.loads(path.read_text())
            (own,) = result["scores"]
            longer = {"policy": "windows of 32", "scores": {"loss": losses[seed]}}
            path.write_text(json.dumps(result | {"scores": [own | longer, own]}))
    asked = ["compare", "a", "b", "--seen", "windows of 32"]
    assert main(asked) == 0
    assert "seen: windows of 32" in capsys.readouterr().out
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seen"] == "windows of 32"
    assert found["difference"] == pytest.approx(-0.1, abs=1e-3)
    assert main(["compare", "a", "b", "--seen", "windows of 33"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "a/seed0 has no 'validation loss' at its last step" in said
    assert "'windows of 32'" in said and "evaluate" in said


def test_other_tokens_are_compared_by_what_depends_on_none(capsys):
    write("a", BASE[:5])
    write("b", BASE[:5])
    for folder in ("a", "b"):
        own = json.dumps({"digest": folder})
        (Path(folder) / "seed0" / "data.json").write_text(own)
    assert main(["compare", "a", "b"]) == 2
    assert "--measure bits_per_byte" in " ".join(capsys.readouterr().err.split())


def test_bits_are_not_compared_that_are_divided_by_other_bytes(capsys):
    """Such as where one tokenizer keeps no capitals."""
    write("a", BASE[:5], score="bits_per_byte")
    write("b", BASE[:5], score="bits_per_byte")
    compare = ["compare", "a", "b", "--measure", "bits_per_byte"]
    for folder, many in (("a", 100), ("b", 100), ("b", 98)):
        own = json.dumps({"digest": folder, "bytes": many})
        (Path(folder) / "seed0" / "data.json").write_text(own)
        status = main(compare)
    assert status == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "bytes of the validation split: 100 there, 98 here" in said
    (Path("b") / "seed0" / "data.json").write_text('{"digest": "b", "bytes": 100}')
    assert main(compare) == 3


def test_a_copy_is_no_further_seed(capsys):
    write("a", BASE)
    write("b", BASE)
    own = json.dumps({"experiment": {"seed": 0}})
    (Path("b") / "seed0" / "experiment.json").write_text(own)
    (Path("b") / "seed1" / "experiment.json").write_text(own)
    assert main(["compare", "a", "b"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "b/seed1 has seed 0" in said and "b/seed0" not in said
    assert "left out" not in said.lower()
    assert main(["table", "."]) == 0
    assert "Left out: " in capsys.readouterr().err


def test_what_has_not_ended_is_refused(capsys):
    write("a", BASE)
    write("b", BASE)
    (Path("b") / "seed20").mkdir()
    (Path("b") / "seed20" / "experiment.json").write_text("{}")
    assert main(["compare", "a", "b"]) == 2
    assert "seed20 has not ended" in " ".join(capsys.readouterr().err.split())


def test_what_patience_ended_is_refused(capsys):
    write("a", BASE)
    write("b", BASE[:5])
    write("b", BASE[5:], first=5, steps=3)
    assert main(["compare", "a", "b"]) == 2
    assert "different numbers of steps" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "args, told",
    [
        ("a b --measure los", "Did you mean 'validation loss'?"),
        ("a b --split test", "evaluate"),
        ("a .", "holds runs of 2 recipes"),
        ("a a/seed0", "a has seeds 0, 1, 2, 3, 4, a/seed0 has 0: they"),
        ("a c", "no results below c"),
        ("a b --level 2", "level"),
    ],
)
def test_bad_input_is_one_message(args, told, capsys):
    write("a", BASE[:5])
    write("b", BASE[:5])
    assert main(["compare", *args.split()]) == 2
    said = capsys.readouterr()
    assert told in " ".join(said.err.split()) and not said.out


def test_a_score_that_is_not_finite_is_named(capsys):
    write("a", BASE[:5])
    write("b", [*BASE[:4], float("inf")])
    assert main(["compare", "a", "b"]) == 2
    assert "seed4" in capsys.readouterr().err


@pytest.fixture
def tuned(tmp_path):
    """Folders of a sweep that tuned both: the best rate of one is the largest."""
    write_tiny(tmp_path)
    study = Study(seeds=5, tune={"schedule.peak": log_uniform(1e-4, 1e-2)})
    plan = made(study=study)
    chosen = {
        cell.variant: Chosen(0, {"schedule.peak": 1e-2}, {}, {}) for cell in plan.cells
    }
    keep_chosen(plan, chosen)
    for cell in plan.cells:
        end(cell, 12, parameters=10)
    for variant in ("base", "wide"):
        trial = Path(f"runs/tiny/{variant}/trial0")
        shutil.copytree(f"runs/tiny/{variant}/seed0", trial)
        result = json.loads((trial / "result.json").read_text())
        (trial / "result.json").write_text(json.dumps(result | {"recipe": "tried"}))
    return Path("runs/tiny")


def test_what_a_sweep_tuned_by_is_no_seed_of_its_variants(tuned, capsys):
    assert main(["compare", "runs/tiny/base", "runs/tiny/wide", "--json"]) == 1
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["seeds"] == [0, 1, 2, 3, 4] and found["verdict"] == "worse"
    assert not said.err
    assert main(["table", "runs/tiny", "--json"]) == 0
    assert "trial" not in capsys.readouterr().out
    for seed in range(5):
        shutil.rmtree(tuned / f"wide/seed{seed}")
    assert main(["compare", "runs/tiny/base", "runs/tiny/wide"]) == 2
    assert "holds trials" in " ".join(capsys.readouterr().err.split())


def test_a_rate_at_its_edge_gives_no_verdict_in_two_folders_either(tuned, capsys):
    path = tuned / "tuned.json"
    kept = json.loads(path.read_text())
    kept["wide"]["edges"] = {"schedule.peak": "largest"}
    path.write_text(json.dumps(kept))
    assert main(["compare", "runs/tiny/base", "runs/tiny/wide"]) == 3
    said = capsys.readouterr()
    assert "B against A: no verdict." in said.out
    assert "No verdict: schedule.peak of wide is the largest tried" in said.err


def test_two_folders_are_not_judged_before_their_sweep_is_through(tuned, capsys):
    shutil.rmtree(tuned / "wide/seed3")
    assert main(["compare", "runs/tiny/base", "runs/tiny/wide"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "that its sweep planned don't count (wide seed 3: missing)" in said
    # What lies in no sweep has the seeds that it has.
    for name in ("base", "wide"):
        shutil.move(tuned / name, f"own/{name}")
        shutil.rmtree(f"own/{name}/trial0")
    assert main(["compare", "own/base", "own/wide"]) == 3


def test_seeds_trained_together_are_no_pair_of_one_trained_alone(tmp_path, capsys):
    write_tiny(tmp_path)
    plan = replace(made(folder="runs/pairs"), together=2)
    for cell in plan.cells:
        end(cell, 12, parameters=10)
        if cell.variant == "wide":
            for name, content in save(cell.experiment).items():
                (cell.run / name).write_bytes(content)
    assert main(["compare", "runs/pairs/base", "runs/pairs/wide"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "seeds that one program trains: 1 there, 2 here" in said


def test_one_of_several_variants_is_said_to_be_judged_alone(tmp_path, capsys):
    write_tiny(tmp_path)
    both = tiny()
    plan = made(both | {"w": replace(both["wide"], batch=16)})
    for cell in plan.cells:
        end(cell, 12, parameters=10)
    assert main(["compare", "runs/tiny/base", "runs/tiny/wide"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "Their sweep compares 2 variants; here B is judged as if it were" in said


def test_two_of_a_sweep_are_judged_by_what_it_asked(tmp_path, capsys):
    write_tiny(tmp_path)
    study = Study("bits_per_byte", seeds=5, smallest=0.3, level=0.01)
    for cell in made(study=study).cells:
        end(cell, 12, parameters=10)
    assert main(["compare", "runs/tiny/base", "runs/tiny/wide", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["measure"] == "bits_per_byte" and found["level"] == 0.01
    assert found["verdict"] == "no difference larger than 0.3"
    # Of another measure that difference says nothing, and what is typed comes first.
    asked = ["--measure", "loss", "--level", "0.02"]
    assert main(["compare", "runs/tiny/base", "runs/tiny/wide", "--json", *asked]) == 1
    assert json.loads(capsys.readouterr().out)["level"] == 0.02
    # Nor of other windows; the level is still the sweep's.
    asked = ["--seen", "windows"]
    assert main(["compare", "runs/tiny/base", "runs/tiny/wide", "--json", *asked]) == 1
    assert json.loads(capsys.readouterr().out)["level"] == 0.01
