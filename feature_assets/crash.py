"""Named crash points: where a drill may kill this process, as `kill -9` would.

Invariant: a no-op unless the environment arms exactly that name. It never raises and never cleans up: that is its
purpose.
"""

import os
import signal

ARMED_BY = "FEATURE_ASSETS_CRASH_AT"


def crash_point(name: str) -> None:
    """Die here with SIGKILL if the environment variable `FEATURE_ASSETS_CRASH_AT` equals `name`."""
    if os.environ.get(ARMED_BY) == name:
        os.kill(os.getpid(), signal.SIGKILL)
