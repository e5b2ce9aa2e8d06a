"""A run: one command that takes a while, and what may happen to it meanwhile.

The reader thread writes into it (stop, tune) and the main thread reads; each field is replaced as
a whole and only ever goes one way, so neither needs a lock.
"""

from __future__ import annotations

import time

from chatterm.engine.native import StopFlag
from chatterm.engine.protocol import Tune


class Run:
    """`received` and `stopped_at` are readings of time.perf_counter, when the command was read."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.received = time.perf_counter()
        self.stop = StopFlag()
        self.stopped_at: float | None = None
        self.tune: Tune | None = None

    def request_stop(self) -> None:
        """End the run as soon as can be."""
        if self.stopped_at is None:
            self.stopped_at = time.perf_counter()
            self.stop.set()

    @property
    def stop_s(self) -> float | None:
        """Seconds since the stop was asked for."""
        return None if self.stopped_at is None else time.perf_counter() - self.stopped_at
