"""The error tree: every type hangs in it as it is drawn, and every message ends with the way out."""

import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_assets import errors
from feature_assets.errors import (
    CommitConflictError,
    FeatureAssetsError,
    NaiveTimestampError,
    OutdatedError,
    OverloadedError,
    StaleFeaturesError,
    StoreThrottledError,
    StoreUnreachableError,
    UnknownFeaturesError,
    UnknownNameError,
    did_you_mean,
)

TYPES = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, FeatureAssetsError)]


def drawn() -> list[tuple[str, str, bool]]:
    """Each type of the drawing in the module's docstring: its name, its parent's, and whether it may be retried."""
    path: list[str] = []
    found = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^    ((?:[│ ]   )*(?:[├└]── )?)([A-Z]\w+Error)(.*)$", line)
        if match:
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            found.append((match[2], path[depth - 1] if depth else "Exception", "(retryable)" in match[3]))
    return found


def test_the_tree_is_as_it_is_drawn() -> None:
    real = [(type_.__name__, type_.__bases__[0].__name__, type_.retryable) for type_ in TYPES]
    assert sorted(drawn()) == sorted(real)


def test_what_may_be_retried_is_a_property_of_the_type() -> None:
    assert {type_ for type_ in TYPES if type_.retryable} == {
        CommitConflictError,
        OutdatedError,
        StoreUnreachableError,
        StoreThrottledError,
        StaleFeaturesError,
        OverloadedError,
        UnknownFeaturesError,
    }


@pytest.mark.parametrize("type_", [t for t in TYPES if t not in {NaiveTimestampError, UnknownNameError}])
def test_a_message_ends_with_the_way_out(type_: type[FeatureAssetsError]) -> None:
    error = type_("view a: it rains", hint="wait")
    assert (error.message, error.hint) == ("view a: it rains", "wait")
    assert str(error) == "view a: it rains\nHint: wait"
    assert str(type_("view a: it rains")) == "view a: it rains"


def test_a_naive_timestamp_is_told_by_its_column() -> None:
    error = NaiveTimestampError("as_of", "spine")
    assert error.message == "spine: column 'as_of' holds timestamps without a time zone"
    assert "tz_localize('UTC')" in str(error)


def test_an_unknown_name_comes_with_the_nearest_that_exists() -> None:
    error = UnknownNameError("view", "daly_spend", ["daily_spend", "last_order"], "project 'shop'")
    assert str(error) == "project 'shop': unknown view 'daly_spend'\nHint: did you mean 'daily_spend'?"


def test_without_a_near_one_the_hint_is_the_list_and_says_when_there_are_more() -> None:
    assert did_you_mean("x", ["beta", "alpha"]) == "known: alpha, beta"
    assert did_you_mean("x", []) == "none is defined"
    many = [f"view_{number:02}" for number in range(13)]
    assert did_you_mean("x", many) == "known: " + ", ".join(many[:12]) + ", ..."
    assert did_you_mean("x", many[:12]) == "known: " + ", ".join(many[:12])


@given(st.text(min_size=1, max_size=20), st.lists(st.text(min_size=1, max_size=20), min_size=1, unique=True))
def test_a_hint_names_something_that_exists(name: str, options: list[str]) -> None:
    assert any(option in did_you_mean(name, options) for option in options)
