"""How the DynamoDB store goes about its calls, and the transport that this makes.

Invariant: every wait has a bound. It sends nothing.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from botocore.session import Session

from feature_assets.online.dynamodb_client import BotoTransport, Endpoint, Timeouts, Transport
from feature_assets.online.dynamodb_direct import Line, direct_or_boto
from feature_assets.online.dynamodb_hedging import Hedging
from feature_assets.online.dynamodb_stats import CallStats
from feature_assets.settings import DynamoDBTransport


@dataclass(frozen=True, slots=True)
class DynamoDBOptions:
    """How the store goes about it; durations in seconds.

    `read_budget`: how long a read without a deadline may go on. `attempts`: how often a call is made for what was
    refused for load (for reads also: lost). `concurrency`: calls at once, and connections kept, of reads and of writes.
    `hedging`: how slow reads are asked a second time by the direct transport; None: they are not.
    """

    read_timeouts: Timeouts = field(default_factory=lambda: Timeouts(connect=0.2, read=1.0))
    write_timeouts: Timeouts = field(default_factory=lambda: Timeouts(connect=1.0, read=5.0))
    read_budget: float = 2.0
    attempts: int = 5
    first_pause: float = 0.025
    longest_pause: float = 0.4
    concurrency: int = 16
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = field(default_factory=lambda: secrets.SystemRandom().random)
    transport: DynamoDBTransport = DynamoDBTransport.DIRECT
    hedging: Hedging | None = field(default_factory=Hedging)

    def pause(self, failures: int) -> float:
        """Seconds before the call after the `failures`-th failure in a row: between nothing and twice as much each."""
        return self.jitter() * min(self.longest_pause, self.first_pause * 2.0 ** (failures - 1))

    def transports(
        self, session: Session, endpoint: Endpoint, clients: Sequence[Any], stats: CallStats
    ) -> tuple[Transport, Transport]:
        """For reading and for writing, to where these two clients of the session go."""
        reader, writer = clients
        if self.transport is DynamoDBTransport.BOTO3:
            return BotoTransport(reader), BotoTransport(writer)
        reading = Line(self.read_timeouts, self.concurrency, self.hedging, stats)
        writing = Line(self.write_timeouts, self.concurrency, None, stats)
        return direct_or_boto(reader, session, endpoint, reading), direct_or_boto(writer, session, endpoint, writing)


DEFAULTS: Final = DynamoDBOptions()
