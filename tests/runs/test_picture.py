"""The picture of a run is drawn from whatever its metrics hold."""

import math

import pytest
from matplotlib import image
from matplotlib.figure import Figure

from lm_jax.errors import UserError
from lm_jax.runs import picture
from lm_jax.runs.metrics import MetricsLog
from lm_jax.runs.picture import draw_run

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
    draw_run(run, run / "curve.png", ("published", 1.88))
    height, width, _ = image.imread(run / "curve.png").shape
    assert height > 600 < width
    losses = drawn[0].axes[0]
    raw, smooth, validation, reference = losses.lines
    assert len(raw.get_xdata()) == len(smooth.get_xdata()) == 800
    assert dict(zip(*validation.get_data(), strict=True)) == VALIDATION
    assert set(reference.get_ydata()) == {1.88}
    (best,) = losses.texts
    assert best.get_text() == "best 1.9000\nat step 500"
    labels = [text.get_text() for text in losses.get_legend().get_texts()]
    assert labels == ["training, smoothed", "validation", "published: 1.88"]


@pytest.mark.slow
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


def test_smoothing_keeps_a_line_and_takes_noise(run):
    steps = list(range(1000))
    line = [3.0 - 0.001 * step for step in steps]
    smooth = picture._smoothed((steps, line))[1]
    assert smooth[:990] == pytest.approx(line[:990])
    assert smooth[990:] == pytest.approx(line[990:], abs=0.006)
    noisy = [value + (-1) ** step for step, value in enumerate(line)]
    smooth = picture._smoothed((steps, noisy))[1]
    assert (
        max(abs(a - b) for a, b in zip(smooth[20:-20], line[20:-20], strict=True)) < 0.1
    )


@pytest.mark.parametrize("count", [1, 2, 4000, 4001, 9000, 100_000])
def test_thinning_keeps_both_ends_and_few_points(count):
    series = list(range(count)), [float(step) for step in range(count)]
    steps, values = picture._thinned(series)
    assert len(steps) <= 4001
    assert (steps[0], steps[-1]) == (0, count - 1)
    assert steps == values
    assert steps == sorted(set(steps))
