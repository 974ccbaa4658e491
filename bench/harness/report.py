"""Runs every bench and writes docs/benchmarks.md from the last line of each. What `make bench` does.

    python bench/harness/report.py [NAME ...]      # all of bench/*.py, or the named ones

Invariant: every figure in the page was measured by this run, or stands in the page from the run that last measured that
bench; none is typed by hand.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parents[1]
RESULTS = BENCH / "results.json"
PAGE = BENCH.parent / "docs" / "benchmarks.md"
HEAD = """\
# Benchmarks

Written by `make bench`; not edited by hand. *Bare* is the same work with nothing around it, measured in the same run,
in turns, so that whatever else the machine did fell on both alike. Absolute figures are of the machine named under each
table; the ratio is what carries over. A figure beyond its bound says so.
"""


def main(names: list[str]) -> None:
    """Run the benches, keep their last lines, write the page."""
    chosen = [BENCH / f"{name}.py" for name in names] or sorted(BENCH.glob("*.py"))
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for script in chosen:
        print(f"== {script.stem}", flush=True)
        last = ""
        with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                print(line, end="", flush=True)
                last = line.strip() or last
        if process.returncode:
            sys.exit(f"{script.name} ended with {process.returncode}")
        results[script.stem] = json.loads(last)
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(HEAD + "".join(section(name, results[name]) for name in sorted(results)), encoding="utf-8")


def section(name: str, result: dict[str, Any]) -> str:
    """One bench as a table."""
    lines = [f"\n## {name}\n", "| | measured | bare | unit | ratio | bound |", "|---|---:|---:|---|---:|---|"]
    for one in result["figures"]:
        bound = f"at most {one['at_most']:g}" if "at_most" in one else ""
        bound = f"at least {one['at_least']:g}" if "at_least" in one else bound
        flag = "" if one["within"] else " **beyond**"
        lines.append(
            f"| {one['name']} | {one['measured']:.4g} | {one['limit']:.4g} | {one['unit']} "
            f"| {one['ratio']:.2f} | {bound}{flag} |"
        )
    machine = result["machine"]
    return "\n".join([*lines, "", f"{machine['cpus']} cores, Python {machine['python']}, {machine['system']}", ""])


if __name__ == "__main__":
    main(sys.argv[1:])
