"""The bootstrap over items is the plain one, and compares the same items alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.errors import UserError
from lm_jax.evaluation.items import Items
from lm_jax.runs.items import keep_items, read_items
from lm_jax.runs.result import read_result
from lm_jax.runs.rows import Ended
from lm_jax.statistics import items as statistics
from lm_jax.statistics import words
from lm_jax.statistics.items import bootstrap, over_items
from lm_jax.statistics.report import read_report
from tests.commands.test_compare import in_folder, write
from tests.report.made import made, score, tiny
from tests.tiny import write_tiny

__all__ = ["in_folder"]
LOSS = ("validation", "loss")


def test_it_is_the_plain_bootstrap_of_a_ratio_of_sums():
    random = np.random.default_rng(1)
    weights = random.integers(1, 20, 80).astype(float)
    # Most of the spread is that of the weights, which come with their items.
    differences = weights * random.normal(1.0, 0.2, 80)
    found = bootstrap(differences, weights, 0.1)
    drawn = random.integers(0, 80, (20000, 80))
    means = differences[drawn].sum(-1) / weights[drawn].sum(-1)
    low, high = np.quantile(means, [0.05, 0.95])
    assert found.items == 80
    assert found.mean == pytest.approx(differences.sum() / weights.sum())
    near = 0.04 * (high - low)
    assert found.low == pytest.approx(low, abs=near)
    assert found.high == pytest.approx(high, abs=near)
    assert bootstrap(differences, weights, 0.1) == found


def test_items_that_all_differ_alike_leave_no_doubt():
    found = bootstrap(np.full(9, 0.5), np.ones(9), 0.05)
    assert found == (9, 0.5, 0.5, 0.5)


def test_the_interval_holds_the_truth_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(statistics, "_RESAMPLES", 400)
    random, held = np.random.default_rng(2), 0
    for _ in range(300):
        # Two classifiers that agree on most texts; the second is better by 0.05.
        hard = random.random(150)
        a, b = (hard < 0.70).astype(float), (hard + random.normal(0, 0.1, 150) < 0.75)
        found = bootstrap(b.astype(float) - a, np.ones(150), 0.1)
        held += found.low <= 0.05 <= found.high
    assert 0.85 <= held / 300 <= 0.95  # 3 standard deviations about 90%


def write_items(folder, seed, nats, weight=1.0, **changed):
    run = Path(folder, f"seed{seed}")
    numbers, nats = np.arange(len(nats)), np.asarray(nats, float)
    about = {"split": "validation", "step": 4, "text": "aaa", "policy": "windows of 8"}
    weights = np.full(len(nats), weight)
    sums = {"nats": nats * weight, "correct": (nats < 1) * weight}
    keep_items(run, Items(numbers, weights, sums), **about | changed)


def two_folders(better=0.1, seeds=2, items=200):
    """The second has lower nats on most items."""
    random = np.random.default_rng(3)
    hard = random.exponential(1.0, items)
    for folder, less in (("a", 0.0), ("b", better)):
        nats = [hard - less + 0.3 * random.normal(size=items) for _ in range(seeds)]
        write(folder, [float(each.mean()) for each in nats])
        for seed, each in enumerate(nats):
            write_items(folder, seed, each)


def ended(folder, seed):
    run = Path(folder, f"seed{seed}")
    return Ended(run, read_result(run))


def test_what_is_kept_is_read_back():
    Path("r").mkdir()
    sums = {"nats": np.array([0.1, np.inf, 1 / 3])}
    made = Items(np.array([2, 0, 1]), np.array([1.0, 2.0, 3.0]), sums)
    keep_items(Path("r"), made, split="test", step=7, text="t", policy="p")
    items, text, policy = read_items(Path("r"), "test", 7)
    assert list(items.numbers) == [0, 1, 2] and list(items.weight) == [2, 3, 1]
    assert list(items.sums["nats"]) == [np.inf, 1 / 3, 0.1]
    assert (text, policy) == ("t", "p") and read_items(Path("r"), "test", 8) is None
    Path("r/items/test_7.jsonl").write_text("{}\n{")
    with pytest.raises(UserError, match="test_7.jsonl can't be read"):
        read_items(Path("r"), "test", 7)


def test_compare_finds_what_was_planted_and_says_of_what_it_is(capsys):
    two_folders()
    assert main(["compare", "a", "b"]) == 3  # two seeds give no verdict
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    said = " ".join(said.split())
    assert "B less A over 200 items -0.1" in said and "these trained models" in said
    assert main(["compare", "a", "b", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    items = found["items"]
    assert items["items"] == 200 and items["high"] < 0
    assert items["mean"] == pytest.approx(found["difference"])


def test_a_sweeps_report_shows_the_items_beside_its_seeds(tmp_path):
    """At the level of one of its variants, as its other intervals."""
    write_tiny(tmp_path)
    both = tiny()
    plan = made(both | {"w": replace(both["wide"], batch=16)})
    noise = np.random.default_rng(4).normal(0, 0.2, 400)
    for cell in plan.cells:
        nats = score(cell) + (noise - noise.mean()) * (1 + (cell.variant == "wide"))
        sums = {"nats": nats}
        items = Items(np.arange(400), np.ones(400), sums)
        about = {"split": "validation", "step": 12, "text": "t", "policy": "windows"}
        if cell.variant != "w":
            keep_items(cell.run, items, **about)
    report = read_report(plan.folder)
    assert list(report.items) == ["wide"]
    found = report.items["wide"]
    assert found.mean == pytest.approx(report.comparisons["wide"].mean)
    alone = bootstrap(noise - noise.mean() + found.mean, np.ones(400), 0.025)
    assert found == pytest.approx(alone)
    said = " ".join(words.lines(report))
    assert "wide less base over 400 items +0.196" in said and "97.5%" in said


def test_where_there_is_nothing_nothing_is_found():
    two_folders(better=0.0)
    found = over_items([(ended("a", k), ended("b", k)) for k in (0, 1)], LOSS, 0.05)
    assert found.low < 0 < found.high


def test_without_items_of_every_run_there_is_no_interval(capsys):
    two_folders()
    Path("b/seed1/items/validation_4.jsonl").unlink()
    main(["compare", "a", "b", "--json"])
    assert json.loads(capsys.readouterr().out)["items"] is None


def test_one_item_says_nothing_of_others_and_those_that_weigh_nothing_are_none(capsys):
    two_folders(items=1)
    assert main(["compare", "a", "b", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["items"] is None
    for folder, less in (("c", 0.0), ("d", 0.1)):
        nats, weight = np.array([1.0, 3.0, 0.0]) - less, np.array([1.0, 1.0, 0.0])
        write(folder, [float(nats[:2].mean())] * 2)
        for seed in (0, 1):
            write_items(folder, seed, nats, weight)
    main(["compare", "c", "d", "--json"])
    found = json.loads(capsys.readouterr().out)["items"]
    assert found["items"] == 2 and found["mean"] == pytest.approx(-0.1)
    assert found["low"] == pytest.approx(found["high"]) == pytest.approx(-0.1)


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"text": "bbb"}, "the text is bbb here, aaa there"),
        ({"policy": "windows of 9"}, "the windows is windows of 9 here"),
        ({"nats": 0.0}, "are of other parameters"),
        ({"items": 100}, "the number is 100 items here, 200 items there"),
        ({"weight": 2.0}, "numbers or weights differ"),
    ],
)
def test_other_items_are_refused(changed, told, capsys):
    two_folders()
    loss = read_result(Path("b/seed1"))["scores"][0]["scores"]["loss"]
    count, nats = changed.pop("items", 200), changed.pop("nats", loss)
    write_items("b", 1, [nats] * count, **changed)
    assert main(["compare", "a", "b"]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
