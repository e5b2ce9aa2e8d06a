"""Writes to the store, from a thread of its own, what nobody needs to wait for.

The invariant: what was given to it is stored at most SAVE_S later, or is kept and tried again until
it is; a newer value is never overwritten by an older one.
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


class _Growth(msgspec.Struct):
    """What is not stored yet of a reply: its newest value, and what its records grew by."""

    message: Message
    records: list[bytes]
    pieces: dict[int, bytes]

    def add(self, later: _Growth) -> None:
        self.message = later.message
        self.records += later.records
        self.pieces |= later.pieces


class Recorder:
    """Stores growing replies, and small values, so that a slow disk delays nobody."""

    def __init__(self, store: Store, on_problem: Callable[[StoreError], None]) -> None:
        """Failures to store go to `on_problem`, each once, on the recorder's thread."""
        self._store = store
        self._on_problem = on_problem
        self._problem = ""
        self._lock = threading.Lock()  # for what is pending; never held while storing
        self._storing = threading.Lock()
        self._replies: dict[int, _Growth] = {}
        self._values: dict[str, Callable[[Store], None]] = {}
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def add(
        self, message: Message, records: bytes = b"", pieces: Mapping[int, bytes] = NO_PIECES
    ) -> None:
        """The newest value of a reply, with the token records that are new since the last."""
        with self._lock:
            self._grow(_Growth(message, [records], dict(pieces)))
        self._dirty.set()

    def later(self, name: str, write: Callable[[Store], None]) -> None:
        """Have `write` done, in place of one of the same name that is not done yet."""
        with self._lock:
            self._values[name] = write
        self._dirty.set()

    def flush(self) -> None:
        """Store now what is not stored yet. Raises StoreError; nothing is lost then."""
        with self._storing:
            with self._lock:
                replies, self._replies = self._replies, {}
                values, self._values = self._values, {}
                self._dirty.clear()
            try:
                for key, reply in list(replies.items()):
                    self._store.update(reply.message, b"".join(reply.records), reply.pieces)
                    del replies[key]
                for name, write in list(values.items()):
                    write(self._store)
                    del values[name]
            except StoreError:
                self._take_back(replies, values)
                raise

    def _take_back(
        self, replies: dict[int, _Growth], values: dict[str, Callable[[Store], None]]
    ) -> None:
        """Put what could not be stored before what has come since."""
        with self._lock:
            newer, self._replies = self._replies, replies
            for reply in newer.values():
                self._grow(reply)
            self._values = values | self._values
        self._dirty.set()

    def _grow(self, reply: _Growth) -> None:
        if older := self._replies.get(reply.message.id):
            older.add(reply)
        else:
            self._replies[reply.message.id] = reply

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
                if str(error) != self._problem:
                    self._problem = str(error)
                    self._on_problem(error)
