"""Pages of the documentation as programs: their Python blocks, run one after the other, and what they promise to print.

Invariant: a block runs as it stands on the page, in the namespace that the blocks before it left.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def blocks_of(page: str) -> list[str]:
    """The Python blocks of a page, in order."""
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def promised(blocks: list[str]) -> list[str]:
    """What the comments behind every `print` say that it prints. A print that promises nothing fails here."""
    lines = re.findall(r"^print\(.*\)  # (.*)$", "\n".join(blocks), re.MULTILINE)
    assert len(lines) == sum(block.count("print(") for block in blocks) > 2
    return lines


def run(blocks: list[str], folder: Path, name: str) -> None:
    """Run blocks in turn."""
    namespace: dict[str, object] = {"__name__": name}
    for number, block in enumerate(blocks):
        # The code is compiled from a file, as a definition's version reads the text of its functions.
        file = folder / f"block_{number}.py"
        file.write_text(block, encoding="utf-8")
        exec(compile(block, str(file), "exec"), namespace)  # noqa: S102 - this is what the page tells people to do
