"""SQL text, as far as a definition looks into it: where code ends and quotes and comments begin.

Invariant: two statements that differ in white space or comments alone have the same normal form, and no other two do.
It does not parse SQL: the engine does (`feature_assets.compute.duckdb`).
"""

import re
from typing import Final

PARTITION_START: Final = "partition_start"
PARTITION_END: Final = "partition_end"

_TOKEN: Final = re.compile(
    r"""
    (?P<quoted>   [eE]'(?:\\.|''|[^'\\])*'  |  '(?:[^']|'')*'  |  "(?:[^"]|"")*"  |  \$(?P<tag>\w*)\$.*?\$(?P=tag)\$  )
  | (?P<open>     /\*  )
  | (?P<comment>  --[^\n]*  )
  | (?P<blank>    \s+  )
  | (?P<code>     [A-Za-z0-9_$]+  |  .  )
    """,
    re.VERBOSE | re.DOTALL,
)
_MOMENTARY: Final = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"})
_MOMENTARY_CALLS: Final = frozenset(
    {"now", "today", "get_current_time", "get_current_timestamp", "current_localtime", "current_localtimestamp"}
    | {"transaction_timestamp", "random", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "nextval"}
)
_BLOCK: Final = re.compile(r"/\*|\*/")


def normalised(statement: str) -> str:
    """`statement` with every run of white space and comments as one space, outside quotes; no semicolon at the end."""
    return re.sub(r"[\s;]+\Z", "", "".join(text for _, text in _tokens(statement)).lstrip())


def parameters(statement: str) -> tuple[str, ...]:
    """The names of the `$parameters` in a statement, in order."""
    words = (text for kind, text in _tokens(statement) if kind == "code")
    return tuple(dict.fromkeys(word[1:] for word in words if len(word) > 1 and word.startswith("$")))


def clock_reads(statement: str) -> tuple[str, ...]:
    """The functions in a statement that answer differently each time: the clock's and the dice's."""
    codes = [text.lower() for kind, text in _tokens(statement) if kind != "blank"]
    called = zip(codes, [*codes[1:], ""], strict=True)
    return tuple(word for word, after in called if word in _MOMENTARY or (word in _MOMENTARY_CALLS and after == "("))


def first_word(statement: str) -> str:
    """The first word of the code, in lower case; empty if there is no code."""
    return next((text.lower() for kind, text in _tokens(statement) if kind == "code" and text != "("), "")


def is_single(statement: str) -> bool:
    """Whether no semicolon stands between two pieces of code."""
    codes = [text for kind, text in _tokens(statement) if kind != "blank"]
    while codes and codes[-1] == ";":
        codes.pop()
    return ";" not in codes


def _tokens(statement: str) -> list[tuple[str, str]]:
    """(kind, text) pairs; kind is `quoted`, `code` or `blank`; runs of white space and comments are one `blank`."""
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(statement):
        match = _TOKEN.match(statement, at)
        assert match is not None  # noqa: S101 - the last alternative takes any character
        kind = str(match.lastgroup)
        at = _block_end(statement, match.end()) if kind == "open" else match.end()
        if kind in {"quoted", "code"}:
            found.append((kind, match.group()))
        elif not found or found[-1][0] != "blank":
            found.append(("blank", " "))
    return found


def _block_end(statement: str, at: int) -> int:
    """Where the block comment that is open at `at` ends; they nest."""
    depth = 1
    while depth:
        match = _BLOCK.search(statement, at)
        if match is None:
            return len(statement)
        depth += 1 if match.group() == "/*" else -1
        at = match.end()
    return at
