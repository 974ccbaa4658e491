"""SQL text: where quotes and comments end, and what is the same statement."""

import pytest

from feature_assets.definition.sql import clock_reads, first_word, is_single, normalised, parameters


@pytest.mark.parametrize(
    ("statement", "normal"),
    [
        ("  SELECT  a ,\n\tb FROM t ; ", "SELECT a , b FROM t"),
        ("SELECT a -- why\nFROM t", "SELECT a FROM t"),
        ("SELECT/* why */a/* /* nested */ */FROM t -- end", "SELECT a FROM t"),
        ("SELECT '  -- no comment '' ;'", "SELECT '  -- no comment '' ;'"),
        ('SELECT "a  /* b */" FROM t', 'SELECT "a  /* b */" FROM t'),
        ("SELECT $$ a  -- b $$ ,  $x$ $$  ; $x$", "SELECT $$ a  -- b $$ , $x$ $$  ; $x$"),
        (r"SELECT e'it\'s  --' -- c", r"SELECT e'it\'s  --'"),
        ("SELECT 1 /* never closed", "SELECT 1"),
        ("SELECT 'never closed  x", "SELECT 'never closed x"),
        ("SELECT 'é  ü',  ö", "SELECT 'é  ü', ö"),
    ],
)
def test_white_space_and_comments_are_no_difference(statement: str, normal: str) -> None:
    assert normalised(statement) == normal
    assert normalised(normal) == normal


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT 'a b'", "SELECT 'a  b'"),
        ("SELECT a", "SELECT A"),
        ("SELECT a b", "SELECT ab"),
        ("SELECT 1 - -1", "SELECT 1 --1"),
        ("SELECT '--' x", "SELECT '--' y"),
    ],
)
def test_everything_else_is(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def test_parameters_are_found_outside_of_quotes() -> None:
    statement = "SELECT $a + $b, '$c', $$ $d $$, $tag$ $e $tag$ -- $f\n, $a"
    assert parameters(statement) == ("a", "b")


def test_the_clock_is_found_where_it_is_called() -> None:
    assert clock_reads("SELECT now(), NOW (), current_date, random( ), uuid()") == (
        "now", "now", "current_date", "random", "uuid",
    )  # fmt: skip
    assert clock_reads("SELECT now, random, 'now()', \"current_date\" FROM t -- now()") == ()


def test_one_statement_may_end_with_a_semicolon() -> None:
    assert is_single("SELECT ';' ; -- end")
    assert not is_single("SELECT 1; SELECT 2")


def test_the_first_word() -> None:
    assert first_word(" -- x\n /* y */ (((Select 1)))") == "select"
    assert first_word("--") == ""
