"""What the steps of a run in this process print: kept for the UI, and shown once the run is over.

Dagster's own class shows it line by line, for which it starts four processes per run: two that follow the files and two
that watch over these. That takes longer than most of the runs that the command line and the demo start.

Invariant: the files are those that Dagster's class would have written, in the same place, so that the UI of any process
shows them. It is for runs in this process only; what the UI launches is mirrored as ever.
"""

import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from dagster._core.execution.compute_logs import redirect_to_file
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import IO_TYPE_EXTENSION, LocalComputeLogManager
from dagster._serdes import ConfigurableClassData
from dagster._utils import ensure_file, touch_file


class InProcessComputeLogManager(LocalComputeLogManager):
    """`LocalComputeLogManager` that starts no processes; configured with `base_dir`."""

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: Mapping[str, Any],  # Any: Dagster has checked it against `config_type`
    ) -> "InProcessComputeLogManager":
        """What Dagster calls with the configuration."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Generator[CapturedLogContext, None, None]:
        """Standard output and error go to the files of `log_key` meanwhile, and are shown afterwards."""
        out = Path(self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[ComputeIOType.STDOUT]))
        err = Path(self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[ComputeIOType.STDERR]))
        for path in (out, err):
            ensure_file(str(path))
        try:
            with redirect_to_file(sys.stdout, str(out)), redirect_to_file(sys.stderr, str(err)):
                yield CapturedLogContext(log_key)
        finally:
            _show(out, sys.stdout)
            _show(err, sys.stderr)
        # Says that the capture is complete.
        touch_file(self.complete_artifact_path(log_key))  # type: ignore[no-untyped-call] # dagster leaves it untyped


def _show(path: Path, stream: TextIO) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    if text:
        stream.write(text)
        stream.flush()
