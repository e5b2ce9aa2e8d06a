"""A run: one command that takes a while, and what may happen to it meanwhile.

The reader thread writes into it (stop, tune, pace) and the main thread reads; each field is
replaced as a whole and only ever goes one way, so neither needs a lock.
"""

from __future__ import annotations

import threading
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
        self._pace = 0.0
        self._roused = threading.Event()

    def request_stop(self) -> None:
        """End the run as soon as can be."""
        if self.stopped_at is None:
            self.stopped_at = time.perf_counter()
            self.stop.set()
            self._roused.set()

    def set_pace(self, pace: float) -> None:
        """Let at least 1 / `pace` seconds go by from one token to the next; 0 is no limit."""
        self._pace = pace
        self._roused.set()

    def wait_for_turn(self, last_at: float) -> float:
        """Wait until the token after the one at `last_at` (time.perf_counter) may be sampled.

        Returns the seconds waited. A stop or another pace cuts it short at once.
        """
        if not self._pace:
            return 0.0
        began = time.perf_counter()
        while (pace := self._pace) and self.stopped_at is None:
            self._roused.clear()
            if (left := last_at + 1 / pace - time.perf_counter()) <= 0:
                break
            if pace == self._pace and self.stopped_at is None:  # not changed before the clear
                self._roused.wait(left)
        return time.perf_counter() - began

    @property
    def stop_s(self) -> float | None:
        """Seconds since the stop was asked for."""
        return None if self.stopped_at is None else time.perf_counter() - self.stopped_at
