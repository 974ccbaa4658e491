"""What `import feature_assets` gives: exactly what it declares, and quickly."""

import subprocess
import sys
from types import ModuleType

import feature_assets

HEAVY = ("boto3", "dagster", "great_expectations", "lightgbm", "matplotlib")
"""Needed by some steps only, and seconds to import: whoever reads a feature must not wait for them."""


def test_the_declared_names_are_sorted_and_unique() -> None:
    assert list(feature_assets.__all__) == sorted(set(feature_assets.__all__))


def test_the_declared_names_are_the_importable_ones() -> None:
    # A submodule becomes an attribute of its package once anybody imports it; it is not a declaration.
    public = {
        name
        for name, value in vars(feature_assets).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    declared = set(feature_assets.__all__)
    assert {name for name in declared if not hasattr(feature_assets, name)} == set()
    assert public - declared == set()


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = f"import sys, feature_assets; sys.exit(' '.join(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert done.stderr.strip() == ""
