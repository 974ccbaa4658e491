"""One writer of the drill with several: commits to the same table as the others, and tells what was acknowledged.

    python -m feature_assets_tests.drills.offline_writer ROOT NUMBER COMMITS

Each commit writes one value into two partitions of different months, so that half a commit can be seen. It prints one
line of JSON per acknowledged commit: [partition, commit_seq, value].
"""

import sys

import msgspec

from feature_assets.offline.lake import Lake
from feature_assets_tests.partitions import feature_rows, speeds


def partitions_of(number: int) -> tuple[str, str]:
    """The two partitions of a writer."""
    return f"2013-01-{number:02}", f"2013-02-{number:02}"


def write(root: str, number: int, commits: int) -> None:
    """Commit, one after the other, as fast as it goes."""
    table = speeds(Lake(root))
    for count in range(commits):
        value = float(1000 * number + count)
        done = table.commit({day: feature_rows(day, [value] * 3) for day in partitions_of(number)})
        for day in partitions_of(number):
            line = msgspec.json.encode((day, done.seq, value)) + b"\n"
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
