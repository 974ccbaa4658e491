"""How much one request may be, and what it is told if it is more.

Invariant: a limit is looked at before anything that costs more than looking.
"""

from dataclasses import dataclass

from feature_assets.errors import FeatureAssetsError


class LimitError(FeatureAssetsError):
    """A request is more than is taken at once. `status`: of HTTP."""

    def __init__(self, what: str, *, hint: str, status: int = 413) -> None:
        super().__init__(what, hint=hint)
        self.status = status


@dataclass(frozen=True, slots=True)
class Limits:
    """`body`, `key`: bytes; `values`: entities times features; `deadline`: seconds, of a request that brings none.

    `depth`: how deep lists and maps may be in one another. `header_wait`: seconds that a connection may take to send a
    request's head. `rate`: requests a second of each caller, None: any.
    """

    body: int = 1024 * 1024
    entities: int = 1_000
    features: int = 200
    values: int = 60_000
    key: int = 1024
    depth: int = 8
    deadline: float = 1.0
    shortest_deadline: float = 0.001
    longest_deadline: float = 10.0
    header_wait: float = 10.0
    head: int = 32 * 1024
    connections: int = 1_000
    rate: float | None = None

    def within(self, milliseconds: float | None) -> float:
        """The deadline of a request in seconds. Raises `LimitError`."""
        if milliseconds is None:
            return self.deadline
        if milliseconds < 1e3 * self.shortest_deadline:
            what = f"deadline_ms: {milliseconds:g} is less than {1e3 * self.shortest_deadline:g}"
            raise LimitError(what, hint="leave it more time", status=400)
        return min(milliseconds / 1e3, self.longest_deadline)

    def require_body(self, size: int) -> None:
        """Raises `LimitError`."""
        if size > self.body:
            raise LimitError(
                f"the body has {size} bytes or more, of at most {self.body}", hint="ask for fewer at a time"
            )

    def require_size(self, entities: int, features: int) -> None:
        """Raises `LimitError`."""
        for what, count, most in (("entities", entities, self.entities), ("features", features, self.features)):
            if count > most:
                raise LimitError(f"{count} {what} are asked for, of at most {most}", hint="ask for fewer at a time")
        if entities * features > self.values:
            what = f"{entities} entities of {features} features are {entities * features} values"
            raise LimitError(f"{what}, of at most {self.values}", hint="ask for fewer of either")

    def require_depth(self, value: object) -> None:
        """Raises `LimitError`."""
        level, depth = [value], 0
        while level:
            depth += 1
            if depth > self.depth:
                raise LimitError(f"the body is nested deeper than {self.depth}", hint="nest it less", status=400)
            level = [
                inner
                for one in level
                if isinstance(one, dict | list)
                for inner in (one.values() if isinstance(one, dict) else one)
                if isinstance(inner, dict | list)
            ]

    def require_keys(self, name: str, values: list[object]) -> None:
        """Raises `LimitError`."""
        for row, value in enumerate(values):
            if isinstance(value, str | bytes) and len(value) > self.key // 4 and _size(value) > self.key:
                what = f"column {name!r} of entity {row} has {_size(value)} bytes, of at most {self.key}"
                raise LimitError(what, hint="keys are short: is another column meant?", status=422)


def _size(value: str | bytes) -> int:
    return len(value) if isinstance(value, bytes) else len(value.encode("utf-8", "surrogatepass"))
