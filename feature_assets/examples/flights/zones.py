"""Local clocks to instants, for whole columns.

Invariant: an instant is found from a wall-clock reading *and* the zone of the airport where the clock hangs; UTC out,
microseconds. Readings are numpy `datetime64[us]`: naive ones are wall clocks, all others UTC.

The two hours of a year that break wall clocks are decided here, once: a reading that happened twice (the clocks went
back) is the earlier instant; a reading that never happened (the clocks went forward) is the instant of the jump.
`data` says how many rows need either.

It does not know flights, and it does not read the data files.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Instants = npt.NDArray[np.datetime64]
Minutes = npt.NDArray[np.int64]

NEW_YORK = "America/New_York"
ONE_DAY = np.timedelta64(1, "D")


def to_utc(wall: Instants, zone: str) -> Instants:
    """The instants at which clocks in `zone` showed `wall`; same length, no nulls in or out."""
    local = pa.array(wall, pa.timestamp("us"))
    zoned = pc.assume_timezone(local, timezone=zone, ambiguous="earliest", nonexistent="latest")
    return np.asarray(zoned.cast(pa.int64())).astype("datetime64[us]")


def to_wall(instants: Instants, zone: str) -> Instants:
    """What clocks in `zone` show at `instants` (UTC); same length, no nulls in or out."""
    zoned = pa.array(instants, pa.timestamp("us")).cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us", zone))
    return np.asarray(pc.local_timestamp(zoned)).astype("datetime64[us]")


def first_after(instants: Instants, minute_of_day: Minutes, zones: npt.NDArray[np.object_]) -> Instants:
    """Per row, the first instant after `instants` when a clock in the row's zone shows `minute_of_day`, 0 to 1439."""
    found = np.empty_like(instants)
    for zone in np.unique(zones):
        at = zones == zone
        after = instants[at]
        reading = to_wall(after, zone).astype("datetime64[D]") + minute_of_day[at].astype("timedelta64[m]")
        same_day = to_utc(reading.astype("datetime64[us]"), zone)
        next_day = to_utc((reading + ONE_DAY).astype("datetime64[us]"), zone)
        found[at] = np.where(same_day > after, same_day, next_day)
    return found


def minute_of_day(clock: npt.NDArray[np.int64]) -> Minutes:
    """Minutes since midnight of readings written HHMM as a number: 5 is 00:05, 1545 is 15:45, 2400 is midnight, 0."""
    return clock // 100 * 60 % 1440 + clock % 100
