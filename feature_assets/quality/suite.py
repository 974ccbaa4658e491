"""Suites: a view's declared expectations, checked and turned into Great Expectations' own objects.

Invariant: an expectation that cannot be built is an error with a place and a reason, never one that is left out.
Importing this module does not import Great Expectations, which takes seconds: only `built` and `validated_suite` do.
"""

import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from feature_assets.definition.naming import ARRIVED_AT, EVENT_AT, SEQUENCE
from feature_assets.definition.place import refusal
from feature_assets.definition.view import Expectation, FeatureView
from feature_assets.errors import did_you_mean

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation as BuiltExpectation

POSITION = "position"
"""Where an expectation stands in the view, kept in its metadata: results come back in another order."""

_PACKAGE = "great_expectations"
_REGISTRY = f"{_PACKAGE}.expectations.registry"
_COLUMN_ARGUMENTS = ("column_A", "column_B")


def suite_hash(view: FeatureView) -> str:
    """What identifies the declared expectations: 16 hex digits over all that can change a verdict."""
    declared = [
        [e.type, e.column, e.severity, e.mostly, sorted((name, repr(value)) for name, value in e.arguments.items())]
        for e in view.expectations
    ]
    return hashlib.sha256(msgspec.json.encode(declared)).hexdigest()[:16]


def known_types() -> frozenset[str]:
    """The names of the expectations that exist: those shipped, and registered ones if the library is loaded already."""
    spec = importlib.util.find_spec(_PACKAGE)
    shipped: frozenset[str] = frozenset()
    if spec is not None and spec.origin is not None:
        # One file each, named by it. Listing them takes a millisecond, importing them seconds.
        core = Path(spec.origin).parent / "expectations" / "core"
        shipped = frozenset(path.stem for path in core.glob("expect_*.py"))
    registry = sys.modules.get(_REGISTRY)
    if registry is None:
        return shipped
    return shipped | frozenset(registry.list_registered_expectation_implementations())


def check_suite(view: FeatureView) -> None:
    """Refuse what is wrong at a glance: an unknown expectation, or an unknown column among the arguments of one.

    Raises `DefinitionError`. Cheap enough for every load; `validated_suite` finds the rest, such as an argument that
    the expectation does not take.
    """
    if not view.expectations:
        return
    types, columns = known_types(), _columns(view)
    for expectation in view.expectations:
        if expectation.type not in types:
            what = f"unknown expectation {expectation.type!r}"
            raise refusal("FeatureView", view.name, what, did_you_mean(expectation.type, types), view.place)
        for column in named_columns(expectation):
            if column not in columns:
                what = f"{expectation.type}: unknown column {column!r}"
                raise refusal("FeatureView", view.name, what, did_you_mean(column, columns), view.place)


def validated_suite(view: FeatureView) -> None:
    """Refuse whatever `built` would: also wrong arguments. Raises `DefinitionError`. Imports Great Expectations."""
    check_suite(view)
    for position, expectation in enumerate(view.expectations):
        made = built(expectation, position)
        if isinstance(made, str):
            what = f"{expectation.type}: {made}"
            raise refusal("FeatureView", view.name, what, "see the expectation's own documentation", view.place)


def built(expectation: Expectation, position: int) -> "BuiltExpectation | str":
    """The library's own object for a declared expectation, or why there can be none."""
    from great_expectations.exceptions.exceptions import GreatExpectationsError
    from great_expectations.expectations.registry import get_expectation_impl

    # Any: which arguments there are is the expectation's own affair, and it refuses others itself.
    arguments: dict[str, Any] = {**expectation.arguments, "meta": {POSITION: position}}
    if expectation.column is not None:
        arguments["column"] = expectation.column
    if expectation.mostly is not None:
        arguments["mostly"] = expectation.mostly
    try:
        made: BuiltExpectation = get_expectation_impl(expectation.type)(**arguments)
    except (GreatExpectationsError, TypeError, ValueError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return made


def _columns(view: FeatureView) -> frozenset[str]:
    features = view.stored_names
    return frozenset({*view.entity.key_names, EVENT_AT, ARRIVED_AT, SEQUENCE, *features})


def named_columns(expectation: Expectation) -> list[str]:
    """The columns that an expectation about several names in its arguments."""
    single = [expectation.arguments.get(name) for name in _COLUMN_ARGUMENTS]
    several = expectation.arguments.get("column_list")
    listed = list(several) if isinstance(several, (list, tuple)) else []
    return [name for name in [*single, *listed] if isinstance(name, str)]
