"""Who goes first on a machine that both serves and computes.

Invariant: a process that gives way runs whenever a processor is free, and leaves it as soon as one that does not give
way has something to do; what it starts gives way as well. There is no way back for it.

Niceness alone is not enough. By default Linux shares processors among sessions first (autogroup), and niceness counts
within one: a terminal that serves and one that computes are two. So a session of its own gives way as a whole; in one
that it shares with others a process can only give way by itself, and its session still has its turns, of some
milliseconds each. Between services and containers it is their weights that count (CPUWeight, cpu_shares).
"""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_NICEST: Final = 19


def give_way() -> None:
    """Let this process give way, with all threads that it has and will have. It fails nowhere: it may do nothing."""
    if sys.platform == "linux":
        # A thread may have ended by now; a sandbox or a kernel may not know any of it.
        with suppress(OSError):
            if os.getsid(0) == os.getpid():
                Path("/proc/self/autogroup").write_text(str(_NICEST), encoding="ascii")
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError):
                os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
    elif sys.platform != "win32":
        with suppress(OSError):
            os.nice(_NICEST)
