"""Brings changes from any thread to a widget, at most INTERVAL_S apart."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from textual.widget import Widget

INTERVAL_S = 0.05


class Pulse:
    """Calls `paint` in its widget's message loop after changes: at once after a pause, else later.

    A timer or a message of Textual's for each change would cost more than what is painted.
    """

    def __init__(self, widget: Widget, paint: Callable[[], None]) -> None:
        """To be made where the widget's event loop runs."""
        self._widget = widget
        self._paint = paint
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._pending = False
        self._last = 0.0

    def poke(self) -> None:
        """Say that something has changed. From any thread, cheap, never waits."""
        with self._lock:
            if self._pending:
                return
            self._pending = True
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._arrange)

    def _arrange(self) -> None:
        self._loop.call_at(self._last + INTERVAL_S, self._widget.call_next, self._beat)

    def _beat(self) -> None:
        self._last = self._loop.time()
        with self._lock:
            self._pending = False
        self._paint()
