"""Brings changes from any thread to a screen, at most a few dozen times a second."""

from __future__ import annotations

import threading
import time

from textual.message import Message
from textual.widget import Widget

INTERVAL_S = 0.04


class Pulse:
    """Posts `Beat` to a widget after changes: at once after a pause, else INTERVAL_S apart."""

    class Beat(Message, bubble=False):
        """Something has changed since the last one."""

    def __init__(self, widget: Widget) -> None:
        self._widget = widget
        self._lock = threading.Lock()
        self._pending = False
        self._last = 0.0

    def poke(self) -> None:
        """Say that something has changed. From any thread, cheap, never waits."""
        with self._lock:
            if self._pending:
                return
            self._pending = True
        self._widget.post_message(self.Beat())

    def due_in(self) -> float:
        """For the handler of Beat: seconds to wait before painting, 0 to paint now."""
        return max(0.0, self._last + INTERVAL_S - time.monotonic())

    def painting(self) -> None:
        """To be called right before the state is read and painted."""
        self._last = time.monotonic()
        with self._lock:
            self._pending = False
