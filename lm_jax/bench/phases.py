"""What a training is doing, by the stacks of its threads."""

import re

PHASES = ("start", "compile", "train", "evaluate", "save", "end")

_FRAME = re.compile(r'File "(.*)", line \d+ in (\S+)')
# (phase, part of a file's path, functions of it; any, if none). The innermost frame
# that one of them fits decides.
_SIGNS: list[tuple[str, str, set[str]]] = [
    ("compile", "jax/_src/compiler.py", set()),
    ("compile", "jax/_src/compilation_cache.py", set()),
    ("compile", "jax/_src/interpreters/", set()),
    ("save", "lm_jax/runs/checkpoints.py", {"save", "wait", "close"}),
    ("save", "lm_jax/counting/fitted.py", {"save"}),
    ("end", "lm_jax/training/run.py", {"finish"}),
    ("end", "lm_jax/runs/result.py", set()),
    ("evaluate", "lm_jax/evaluation/", set()),
    ("evaluate", "lm_jax/training/scoring.py", set()),
    ("evaluate", "lm_jax/training/loop.py", {"_evaluate"}),
    ("train", "lm_jax/training/loop.py", set()),
    ("train", "lm_jax/counting/", set()),
    ("end", "lm_jax/training/counting.py", {"_conclude"}),
]


def phase_of(stacks: str) -> str:
    """Tell one of `PHASES`; "start" is all before there is anything to lose.

    Tracing is compiling; the end writes the result and draws the picture.

    Args:
        stacks: of all threads, as `faulthandler` writes them. Orbax saves in threads
            of its own, while the main thread trains.
    """
    threads = [_FRAME.findall(thread) for thread in stacks.split("\n\n")]
    main = [t for t in threads if any("lm_jax/__main__.py" in file for file, _ in t)]
    phase = _of_thread(main[0]) if main else "start"
    others = [file for t in threads if t not in main for file, _ in t]
    if phase == "train" and any("orbax/checkpoint/" in file for file in others):
        return "save"
    return phase


def _of_thread(frames: list[tuple[str, str]]) -> str:
    for file, function in frames:
        if function == "__call__" and file.endswith("interpreters/pxla.py"):
            continue  # runs what was compiled
        for phase, part, functions in _SIGNS:
            # The code of a module is run when it is imported.
            if part in file and function in (functions or {function} - {"<module>"}):
                return phase
    return "start"
