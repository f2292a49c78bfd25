"""A process whose work doesn't go on ends, and says where it stood."""

import subprocess
import sys

CODE = """
import time
from lm_jax.training import watchdog

watchdog._GRACE = 0.0
with watchdog.Watchdog(0.8) as watched:
    for step in range(12):  # longer than it allows, but each step ends
        watched.now(f"step {step}")
        time.sleep(0.1)
    print("going on", flush=True)
with watchdog.Watchdog(0.1):
    pass
time.sleep(0.5)
print("unwatched", flush=True)
with watchdog.Watchdog(0.8) as watched:
    watched.now("step 12")
    time.sleep(20)
print("woken")
"""


def test_what_is_stuck_ends_with_its_stacks_and_what_goes_on_does_not():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=50
    )
    assert done.stdout == "going on\nunwatched\n"
    assert done.returncode == 1
    assert "Process 0 is stuck: step 12 took over 0.8 s." in done.stderr
    assert 'File "<string>", line 17' in done.stderr  # where it slept
