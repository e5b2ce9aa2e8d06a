"""Keeps the reply that is being written safe in the store.

The invariant: what was given to `add` is stored at most SAVE_S later, or is kept and tried again
until it is; a newer value of a message is never overwritten by an older one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from chatterm.chat.message import Message
from chatterm.errors import StoreError
from chatterm.store import Store

SAVE_S = 0.5
NO_PIECES: Mapping[int, bytes] = MappingProxyType({})


class _Pending(msgspec.Struct):
    """What is not stored yet of one message."""

    message: Message
    records: list[bytes] = []
    pieces: dict[int, bytes] = {}


class Recorder:
    """Stores a growing reply from a thread of its own, so that a slow disk delays nobody."""

    def __init__(self, store: Store, on_problem: Callable[[StoreError], None]) -> None:
        """Failures to store go to `on_problem`, each once, on the recorder's thread."""
        self._store = store
        self._on_problem = on_problem
        self._problem = ""
        self._lock = threading.Lock()  # for what is pending; never held while storing
        self._storing = threading.Lock()
        self._pending: dict[int, _Pending] = {}
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def add(
        self, message: Message, records: bytes = b"", pieces: Mapping[int, bytes] = NO_PIECES
    ) -> None:
        """The newest value of a reply, with the token records that are new since the last."""
        with self._lock:
            pending = self._pending.setdefault(message.id, _Pending(message))
            pending.message = message
            pending.records.append(records)
            pending.pieces.update(pieces)
        self._dirty.set()

    def flush(self) -> None:
        """Store now what is not stored yet. Raises StoreError; nothing is lost then."""
        with self._storing:
            with self._lock:
                taken, self._pending = self._pending, {}
                self._dirty.clear()
            for pending in list(taken.values()):
                try:
                    self._store.update(pending.message, b"".join(pending.records), pending.pieces)
                except StoreError:
                    self._take_back(taken)
                    raise
                del taken[pending.message.id]

    def _take_back(self, unstored: dict[int, _Pending]) -> None:
        """Put what could not be stored before what has come since."""
        with self._lock:
            for key, newer in self._pending.items():
                if key in unstored:
                    newer.records[:0] = unstored[key].records
                    newer.pieces = unstored[key].pieces | newer.pieces
            self._pending = unstored | self._pending

    def close(self) -> None:
        """Store what is left and end. Raises StoreError."""
        self._closing.set()
        self._dirty.set()
        self._thread.join()
        self.flush()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._dirty.wait()
            self._closing.wait(SAVE_S)
            try:
                self.flush()
                self._problem = ""
            except StoreError as error:
                self._dirty.set()
                if str(error) != self._problem:
                    self._problem = str(error)
                    self._on_problem(error)
