"""Cron expressions: what is accepted, and what is said about the rest."""

import pytest

from feature_assets.definition.schedule import cron_problem


@pytest.mark.parametrize(
    "expression",
    [
        "0 1 * * *", "*/5 * * * *", "0,30 8-18/2 1,15 jan-mar,dec MON-FRI", "59 23 31 12 7", "5/10 * * * *", "@daily",
        "0 0 29 2 *", "0 0 31 * *", "0 0 31 2,3 *", "0 0 31 2 1", "  0   1  * * * ", "0 0 * * sun",
    ],
)  # fmt: skip
def test_what_has_a_next_time_is_accepted(expression: str) -> None:
    assert cron_problem(expression) is None


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("0 1 * *", "has 4 fields"),
        ("", "has 0 fields"),
        ("0 0 1 * * *", "has 6 fields"),
        ("60 * * * *", "'60' as minute, which goes from 0 to 59"),
        ("* 24 * * *", "'24' as hour, which goes from 0 to 23"),
        ("* * 0 * *", "'0' as day of month, which goes from 1 to 31"),
        ("* * * 13 *", "'13' as month"),
        ("* * * januar *", "'januar' as month"),
        ("* * * * 8", "'8' as day of week"),
        ("jan * * * *", "'jan' as minute"),
        ("*/0 * * * *", "a step of 0"),
        ("5-1 * * * *", "'5-1' as minute"),
        ("1,,2 * * * *", "'' as minute"),
        ("-1 * * * *", "'-1' as minute"),
        ("1- * * * *", "'1-' as minute"),
        ("? * * * *", "'?' as minute"),
        ("0 0 31 2 *", "a day that does not exist: day 31 of month 2"),
        ("0 0 31 4,6,9,11 *", "a day that does not exist"),
        ("0 0 30,31 2 *", "a day that does not exist"),
        ("@dayly", "has 1 fields"),
        ("², * * * *", "'²' as minute"),
        (None, "is no text"),
    ],
)
def test_what_is_wrong_is_said(expression: object, problem: str) -> None:
    assert problem in (cron_problem(expression) or "")
