"""The picture of a run is drawn from whatever its metrics hold."""

import math

import numpy as np
import pytest
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lm_jax.errors import UserError
from lm_jax.objectives import (
    Classify,
    GloVe,
    MaskedTokens,
    NextToken,
    Regress,
    SkipGram,
)
from lm_jax.runs import picture
from lm_jax.runs.confusion import draw_confusion
from lm_jax.runs.metrics import MetricsLog
from lm_jax.runs.picture import Measured, Reference, draw_run

VALIDATION = {250: 2.5, 500: 1.9, 750: 2.0}


@pytest.fixture
def run(tmp_path):
    return tmp_path


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that are saved."""
    figures, save = [], Figure.savefig

    def keep(figure, *arguments, **named):
        figures.append(figure)
        return save(figure, *arguments, **named)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def write(run, rows) -> None:
    log = MetricsLog(run / "metrics.jsonl")
    for step, row in rows:
        log.write(step, row)
    log.close()


def training(steps: int):
    for step in range(1, steps + 1):
        loss = 2 + 2 * math.exp(-step / 100)
        yield step, {"loss": loss, "learning_rate": 1e-3, "grad_norm": 1.0}
        if step in VALIDATION:
            yield step, {"validation_loss": VALIDATION[step]}


def test_it_shows_both_losses_the_best_and_the_published(run, drawn):
    write(run, training(800))
    draw_run(run, run / "curve.png", Reference("published", "loss", 1.88))
    height, width, _ = image.imread(run / "curve.png").shape
    assert height > 600 < width
    losses = drawn[0].axes[0]
    raw, smooth, validation, reference = losses.lines
    assert len(raw.get_xdata()) == len(smooth.get_xdata()) == 800
    assert dict(zip(*validation.get_data(), strict=True)) == VALIDATION
    assert set(reference.get_ydata()) == {1.88}
    assert losses.get_title("right") == "best 1.9000 at step 500"
    labels = [text.get_text() for text in losses.get_legend().get_texts()]
    assert labels == ["training, smoothed", "validation", "published: 1.88"]


@pytest.mark.parametrize(
    "rows",
    [
        [(1, {"loss": 2.0})],
        [(0, {"validation_loss": 4.0})],
        [(1, {"loss": 2.0, "grad_norm": 0.0, "learning_rate": 0.0})],
        [(1, {"loss": math.nan}), (2, {"loss": 1.0, "grad_norm": math.inf})],
    ],
)
def test_little_is_enough(run, rows):
    write(run, rows)
    draw_run(run, run / "curve.png")
    assert (run / "curve.png").stat().st_size > 1000


def test_without_losses_there_is_nothing_to_draw(run):
    write(run, [(1, {"loss": math.nan}), (2, {"grad_norm": 1.0})])
    with pytest.raises(UserError, match="no losses to draw"):
        draw_run(run, run / "curve.png")
    assert not (run / "curve.png").exists()


def test_smoothing_keeps_a_line_and_takes_noise():
    steps = np.arange(1000)
    line = 3.0 - 0.001 * steps
    smooth = picture.smoothed(line)
    np.testing.assert_allclose(smooth[:990], line[:990])
    np.testing.assert_allclose(smooth[990:], line[990:], atol=0.006)
    noisy = line + (-1.0) ** steps
    assert np.abs(picture.smoothed(noisy) - line)[20:-20].max() < 0.1
    # Each run by itself.
    both = picture.smoothed(np.stack([line, noisy]))
    np.testing.assert_array_equal(both[0], smooth)


@pytest.mark.parametrize("count", [1, 2, 4000, 4001, 9000, 100_000])
def test_thinning_keeps_both_ends_and_few_points(count):
    series = list(range(count)), [float(step) for step in range(count)]
    steps, values = picture._thinned(series)
    assert len(steps) <= 4001
    assert (steps[0], steps[-1]) == (0, count - 1)
    assert steps == values
    assert steps == sorted(set(steps))


def test_the_unit_of_a_loss_is_the_objectives():
    units = {
        NextToken: "nats per token",
        MaskedTokens: "nats per token",
        Classify: "nats per text",
        Regress: "squared error per text",
        SkipGram: "nats per pair",
        GloVe: "weighted square per pair",
    }
    for kind, unit in units.items():
        assert Measured(kind.unit).label("loss") == f"loss ({unit})"


def test_accuracies_have_a_panel_whose_best_is_the_largest(run, drawn):
    accuracies = {1: 0.2, 2: 0.9, 3: 0.8}
    rows = [(s, {"loss": 1.0 / s, "learning_rate": 0.1}) for s in accuracies]
    scores = [
        (s, {"validation_loss": 1.0 / s, "validation_accuracy": a})
        for s, a in accuracies.items()
    ]
    write(run, rows + scores)
    published = Reference("Kim", "accuracy", 0.95)
    draw_run(run, run / "curve.png", published, Measured("nats per text"))
    losses, accuracy, _ = drawn[0].axes
    assert accuracy.get_ylabel() == "accuracy (share of texts)"
    assert accuracy.get_title("right") == "best 0.9000 at step 2"
    assert set(accuracy.lines[-1].get_ydata()) == {0.95}
    assert losses.get_title("right") == "best 0.3333 at step 3"
    assert len(losses.lines) == 3  # nothing published of the loss


@pytest.mark.parametrize(
    ("watched", "larger", "best", "label"),
    [
        ("accuracy", True, "best 0.5000", "accuracy (share of tokens)"),
        ("wordsim353/spearman", True, "best 0.5000", "wordsim353/spearman"),
        ("error", False, "best -0.1000", "error"),
    ],
)
def test_the_score_that_is_watched_is_drawn(run, drawn, watched, larger, best, label):
    write(
        run,
        [
            (1, {"loss": 2.0}),
            (1, {f"validation_{watched}": -0.1}),
            (2, {f"validation_{watched}": 0.5}),
        ],
    )
    draw_run(
        run, run / "curve.png", None, Measured(watched=watched, larger_is_better=larger)
    )
    losses, score = drawn[0].axes
    assert score.get_ylabel() == label
    assert score.get_title("right").startswith(best)
    assert not losses.get_title("right")


@pytest.mark.parametrize("losses", [[1.9, 1.9, 1.9], [1.9, 1.8, 2.3], [2.5, 1.9, 1.7]])
def test_what_is_said_of_the_best_covers_no_panel(run, drawn, losses):
    """A run that begins from another has a flat curve, and its best anywhere."""
    write(run, [(s, {"loss": x, "validation_loss": x}) for s, x in enumerate(losses)])
    draw_run(run, run / "curve.png")
    (figure,) = drawn
    drawing = FigureCanvasAgg(figure).get_renderer()
    (panel,) = figure.axes
    said = [text for text in panel.get_children() if hasattr(text, "get_text")]
    best = next(t for t in said if t.get_text().startswith("best"))
    place, name = (t.get_window_extent(drawing) for t in (best, figure._suptitle))
    assert not place.overlaps(panel.get_window_extent(drawing))
    assert not place.overlaps(name)


def test_steps_are_whole_numbers(run, drawn):
    write(run, [(step, {"loss": 1.0 / step}) for step in (1, 2)])
    draw_run(run, run / "curve.png")
    assert all(tick == int(tick) for tick in drawn[0].axes[0].get_xticks())


def test_a_confusion_matrix_shows_its_counts_under_their_labels(run, drawn):
    matrix = {"labels": ["no", "y" * 30], "counts": [[3, 0], [1, 12]]}
    draw_confusion(run, {"confusion": matrix}, "test")
    draw_confusion(run, {}, "validation")
    assert [path.name for path in run.glob("*.png")] == ["confusion_test.png"]
    [axes] = drawn[0].axes
    assert [text.get_text() for text in axes.texts] == ["3", "0", "1", "12"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["no", "y" * 19 + "…"]
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares, [[1, 0], [1 / 13, 12 / 13]])
    assert "16 texts" in axes.get_title()
