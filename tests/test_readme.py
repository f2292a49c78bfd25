"""Every command block of README and docs/ runs; long trainings are cut short."""

import json
import re
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from lm_jax.__main__ import COMMANDS, main
from lm_jax.exchange.known import ARCHITECTURES
from lm_jax.experiment import CountExperiment, load
from lm_jax.models import Scaling
from lm_jax.models.config import BlockFields
from lm_jax.models.feedforward import Activation
from lm_jax.models.stack import Stack
from lm_jax.report import serving
from tests.experiment import FILES
from tests.properties import slow_but

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")
BLOCKS = re.findall(
    r"```(\w+)\n(.*?)```",
    "\n".join(page.read_text(encoding="utf-8") for page in PAGES),
    re.DOTALL,
)
LINES = list(
    dict.fromkeys(
        line.removeprefix("./launch.sh ")
        for kind, block in BLOCKS
        if kind == "sh"
        for line in block.splitlines()
    )
)
# What neither trains nor needs what was trained.
LIGHT = [line for line in LINES if re.match("diff|table(?! runs)", line)]
SHORT = [
    *("--budget", "2 steps", "--schedule.warmup", "1 step"),
    *("--evaluations.likelihood.every", "2 steps"),
]

# The file that sweeps are of, made short.
SWEPT = """
from dataclasses import replace
from lm_jax.evaluation import Likelihood
from lm_jax.experiment.loading import load_file

def less(e):
    corpus = replace(e.data.corpus, validation=0.002)
    return replace(
        e,
        data=replace(e.data, corpus=corpus),
        model=e.model.clone(layers=1),
        schedule=replace(e.schedule, warmup="1 step"),
        budget="2 steps",
        evaluations={"likelihood": Likelihood("2 steps")},
    )

found = load_file("experiments/gpt_shakespeare.py").experiments
variants = {name: less(e) for name, e in found.items()}
experiment = variants.pop("base")
"""


def source(words):
    """The one block of Python that has these words."""
    (found,) = (block for kind, block in BLOCKS if kind == "python" and words in block)
    return found


@pytest.fixture(autouse=True)
def four_devices(monkeypatch):
    """As many as divide the batches of the README."""
    import jax

    devices = jax.devices()[:4]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    # Of the processes that a line starts, each has a share.
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trains(line):
    return line.startswith("train") and "--help" not in line


def runs_of(line):
    """The runs that a line needs, so not the one that it makes."""
    pairs = pairwise(shlex.split(line))
    made = ("--run", "--out")
    return [run for flag, run in pairs if run.startswith("runs") and flag not in made]


def ctrl_c(server):
    raise KeyboardInterrupt


class Reader:
    """Somebody who types the lines of the README in a folder, each at most once."""

    def __init__(self, folder):
        self.folder, self.typed = folder, {}

    def type(self, line):
        """Give the exit code; the runs that a line names are trained before."""
        for earlier in filter(trains, LINES[: LINES.index(line)]):
            if all((self.folder / run).exists() for run in runs_of(line)):
                break
            assert self.type(earlier) == 0
        if line not in self.typed:
            self.typed[line] = self._run(line)
        return self.typed[line]

    def _run(self, line):
        name, *args = shlex.split(line)
        assert name in COMMANDS
        if trains(line):
            counts = isinstance(load(args[0]).experiment, CountExperiment)
            shallow = [] if "--model.layers" in args else ["--model.layers", "1"]
            args += [] if counts else SHORT + shallow
            args += ["--data.corpus.validation", "0.002"]
        if name == "sweep":
            args[0] = str(self.folder / "swept.py")
            args[args.index("--seeds") + 1] = "2"
            Path(args[0]).write_text(SWEPT)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(serving.ThreadingHTTPServer, "serve_forever", ctrl_c)
            try:
                return main([name, *args])
            except SystemExit as end:
                return end.code


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return Reader(tmp_path_factory.mktemp("reader"))


@pytest.mark.parametrize("line", slow_but(LINES, *LIGHT))
def test_a_command_of_the_readme_runs(line, reader, capsys):
    if line.startswith("test"):
        pytest.skip("this is it")
    assert reader.type(line) == 0, capsys.readouterr().err


@pytest.mark.slow
def test_the_experiment_of_the_readme_trains(folder, capsys):
    Path("tang.py").write_text(source("Tang poems"), encoding="utf-8")
    assert main(["train", "tang.py", *SHORT]) == 0
    assert "春" in capsys.readouterr().out


def executed(code):
    """Execute lines of Python as they stand, but for the length of the training."""
    loading = 'experiment = load("experiments/gpt_shakespeare.py:rotary").experiment'
    assert loading in code and "200 steps" in code
    less = "corpus = replace(experiment.data.corpus, validation=0.002)\n"
    less += "experiment = replace(\n    experiment, data=replace(experiment.data, "
    less += "corpus=corpus),\n    "
    less += "model=experiment.model.clone(layers=1),\n    "
    less += "schedule=replace(experiment.schedule, warmup='1 step')"
    code = code.replace(loading, f"{loading}\n{less}\n)")
    names = {}
    exec(code.replace("200 steps", "2 steps"), names)
    return names


@pytest.mark.slow
def test_the_lines_of_python_run(folder, capsys):
    executed(source("from lm_jax import"))
    said = capsys.readouterr().out
    assert "ROMEO:" in said and "(19, 128)" in said


@pytest.mark.slow
def test_the_notebook_runs(folder, capsys):
    path = Path(__file__).parent.parent / "experiments" / "from_python.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    assert not [c for c in cells if c.get("outputs")]
    names = executed("\n".join(code))
    assert "ROMEO:" in capsys.readouterr().out
    assert names["fairer"]["tokens"] == names["windows"]["tokens"]


@pytest.mark.slow
def test_a_model_data_and_an_objective_of_ones_own_train(folder, monkeypatch, capsys):
    Path("neural.py").write_text(source("Bengio"), encoding="utf-8")
    own = ["--run", "own", "--model.width", "8", "--objective.gamma", "1.0"]
    assert main(["train", "neural.py", *SHORT, *own]) == 0
    assert "the model writes at step 2" in capsys.readouterr().out
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")  # The run keeps a copy of the classes.
    (folder / "neural.py").unlink()
    assert main(["generate", "../own", "--prompt", "m", "--length", "20"]) == 0
    assert capsys.readouterr().out.startswith("m")
    assert main(["evaluate", "../own"]) == 0
    assert "bits per byte" in capsys.readouterr().out


def test_every_command_is_explained():
    for name in COMMANDS:
        assert f"`{name}" in README


def test_every_extra_is_explained():
    page = (ROOT / "docs/setup.md").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for name in project["project"]["optional-dependencies"]:
        assert f"`{name}`" in page


def in_a_table(page, heading):
    """The names in the first two columns below a heading: (field, values) pairs."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    fields: list[str] = []
    for row in re.findall(r"(?m)^\| (.*) \|$", section):
        first, second = (re.findall(r"`(.*?)`", cell) for cell in row.split("|")[:2])
        fields = first or fields
        yield fields, second


def test_every_choice_of_a_transformer_is_explained_and_no_other():
    chosen, said = get_type_hints(BlockFields), {}
    fields = {*chosen, *Stack.__annotations__, "positions.scaling"}
    fields |= {"feedforward.activation"}
    chosen |= {"positions.scaling": Scaling, "feedforward.activation": Activation}
    for names, values in in_a_table("models.md", "A Transformer's choices"):
        for name in names:
            said.setdefault(name, set()).update(values)
    sizes, carried_out = {"layers", "width"}, {"scan", "remat", "attention_form"}
    assert set(said) == fields - sizes - carried_out - {"name", "parent"}
    for name, hint in chosen.items():
        kinds = {getattr(kind, "__name__", kind) for kind in get_args(hint)}
        if not kinds & {"NoneType"} and kinds:
            assert said[name] == kinds, name


def test_architectures_stand_where_the_guide_says_which_load():
    page = (ROOT / "docs/exchange.md").read_text(encoding="utf-8")
    rows = "".join(re.findall(r"(?m)^\| .*(?:logits|vectors).* \|$", page))
    for name in ARCHITECTURES:
        assert re.search(rf"\b{name}\b", rows), name


def test_a_row_of_the_readmes_results_stands_in_their_page():
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    found = README.split("## Results so far")[1].split("\n## ")[0]
    for row in re.findall(r"(?m)^\| `.*$", found):
        assert row in page


def test_no_sentence_stands_twice():
    seen = {}
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
        text = " ".join(re.sub(r"(?m)^\|.*$", ".", text).split())
        for sentence in re.split(r"(?<=[.:;])\s", text):
            if len(sentence.split()) > 7:
                assert seen.setdefault(sentence, page) == page, sentence


def test_every_experiment_is_listed():
    page = (ROOT / "docs/experiments.md").read_text(encoding="utf-8")
    for path in FILES:  # and none of a user's own beside them
        folder = path.parent.relative_to(ROOT / "experiments")
        assert folder.parts or f"| `{path.name}` |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^):]*)\)", page.read_text(encoding="utf-8"))
    assert links or page.parent == ROOT / "docs"
    for link in links:
        name, _, heading = link.partition("#")
        text = (page.parent / name).read_bytes().decode(errors="ignore")
        titles = re.findall(r"(?m)^#+ (.*)", text)
        anchors = [re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles]
        assert not heading or heading in anchors, link


def test_every_page_is_linked_from_the_readme():
    for page in PAGES[1:]:
        assert f"](docs/{page.name})" in README
