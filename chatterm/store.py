"""Conversations in SQLite: the only module that knows the database.

The invariant: a method returns when what it wrote is durable (WAL, synchronous FULL), and what is
stored is never overwritten, but for a reply that is being written, which only grows.
Methods may be called from any thread; several programs may use one database at a time. While
another one keeps it locked, a method waits `patience` seconds, and then raises StoreError.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from chatterm.chat.message import Change, Ending, Figures, Message, Role
from chatterm.chat.sampling import Sampling
from chatterm.chat.trace import Trace
from chatterm.chat.tree import Tree
from chatterm.errors import StoreError

# Seconds to wait for another program: with a user who waits too, and when there is no later.
SHORT_PATIENCE_S, LONG_PATIENCE_S = 2.0, 10.0
_UNSENT = "unsent"  # the name under which words are kept that were not sent

# Each migration takes the database from version n to n + 1; released ones are never changed.
MIGRATIONS = (
    """
    CREATE TABLE conversations (
        id INTEGER PRIMARY KEY,
        title TEXT NOT NULL,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        sampling TEXT NOT NULL
    );
    CREATE INDEX conversations_updated ON conversations (updated);
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        conversation INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
        parent INTEGER REFERENCES messages ON DELETE CASCADE,
        role TEXT NOT NULL,
        text TEXT NOT NULL,
        created REAL NOT NULL,
        ending TEXT,
        problem TEXT NOT NULL DEFAULT '',
        model TEXT NOT NULL DEFAULT '',
        changes TEXT NOT NULL DEFAULT '[]',
        figures TEXT NOT NULL DEFAULT '{}'
    );
    CREATE INDEX messages_conversation ON messages (conversation);
    CREATE INDEX messages_parent ON messages (parent);
    -- The active child of a message, or of the conversation itself (parent 0).
    CREATE TABLE active (
        conversation INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
        parent INTEGER NOT NULL,
        child INTEGER NOT NULL REFERENCES messages ON DELETE CASCADE,
        PRIMARY KEY (conversation, parent)
    ) WITHOUT ROWID;
    -- A reply's token records (chat/trace.py) in the order they came, in pieces.
    CREATE TABLE traces (
        message INTEGER NOT NULL REFERENCES messages ON DELETE CASCADE,
        part INTEGER NOT NULL,
        records BLOB NOT NULL,
        pieces BLOB NOT NULL,
        PRIMARY KEY (message, part)
    ) WITHOUT ROWID;
    CREATE TABLE remembered (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    """,
)


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation as a list shows it. Times in seconds since the epoch."""

    id: int
    title: str
    created: float
    updated: float
    messages: int


class Store:
    """An open database. `Store(None)` is one in memory, for conversations that are not kept."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.patience = LONG_PATIENCE_S
        self._name = str(path) if path else "the database in memory"
        self._lock = threading.Lock()
        with _explained(self._name):
            if path:
                _create_private(path)
            self._db = sqlite3.connect(
                path or ":memory:",
                timeout=self.patience,
                isolation_level=None,
                check_same_thread=False,
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._migrate()
        self.patience = SHORT_PATIENCE_S

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def conversations(self) -> list[Conversation]:
        """All conversations, the one used last first."""
        query = """
            SELECT c.id, c.title, c.created, c.updated,
                   (SELECT count(*) FROM messages m WHERE m.conversation = c.id)
            FROM conversations c ORDER BY c.updated DESC, c.id DESC
        """
        with self._transaction("DEFERRED") as db:
            rows = db.execute(query).fetchall()
        return [
            Conversation(id=i, title=title, created=created, updated=updated, messages=count)
            for i, title, created, updated, count in rows
        ]

    def asked(self, limit: int = 200) -> list[str]:
        """What the user said last, in all conversations, oldest first."""
        query = "SELECT text FROM messages WHERE role = ? ORDER BY id DESC LIMIT ?"
        with self._transaction("DEFERRED") as db:
            rows = db.execute(query, (Role.USER, limit)).fetchall()
        return [text for (text,) in reversed(rows)]

    def create(
        self, title: str, sampling: Sampling, *messages: Message
    ) -> tuple[int, tuple[Message, ...]]:
        """A new conversation of these messages; returns its id and, as `add` does, the messages."""
        now = time.time()
        with self._transaction() as db:
            made = db.execute(
                "INSERT INTO conversations (title, created, updated, sampling) VALUES (?, ?, ?, ?)",
                (title, now, now, _json(sampling)),
            )
            conversation = made.lastrowid or 0
            return conversation, self._add(db, conversation, messages)

    def load(self, conversation: int) -> tuple[str, Sampling, Tree]:
        """A conversation's title, sampling settings and messages."""
        with self._transaction("DEFERRED") as db:
            head = db.execute(
                "SELECT title, sampling FROM conversations WHERE id = ?", (conversation,)
            ).fetchone()
            if head is None:
                raise StoreError(
                    f"There is no conversation {conversation}.",
                    "F5 in chatterm lists those that there are.",
                )
            rows = db.execute(
                "SELECT id, parent, role, text, created, ending, problem, model, changes, figures "
                "FROM messages WHERE conversation = ? ORDER BY id",
                (conversation,),
            ).fetchall()
            active = db.execute(
                "SELECT parent, child FROM active WHERE conversation = ?", (conversation,)
            ).fetchall()
        tree = Tree.of(map(_message, rows), {parent or None: child for parent, child in active})
        return head[0], msgspec.json.decode(head[1], type=Sampling), tree

    def add(self, conversation: int, *messages: Message) -> tuple[Message, ...]:
        """Store new messages, all or none, as the active path; returns them with their ids.

        The first has its parent; that of each other is the one before it.
        """
        with self._transaction() as db:
            return self._add(db, conversation, messages)

    def update(self, message: Message, records: bytes, pieces: Mapping[int, bytes]) -> None:
        """Store how far a reply has come, and the token records that are new since the last."""
        with self._transaction() as db:
            db.execute(
                "UPDATE messages SET text = ?, ending = ?, problem = ?, model = ?, changes = ?,"
                " figures = ? WHERE id = ?",
                (message.text, *_progress(message), message.id),
            )
            if records:
                db.execute(
                    "INSERT INTO traces SELECT ?, coalesce(max(part) + 1, 0), ?, ?"
                    " FROM traces WHERE message = ?",
                    (message.id, records, msgspec.msgpack.encode(pieces), message.id),
                )

    def trace(self, message: int) -> Trace:
        """The token records of a reply; empty when it has none."""
        with self._transaction("DEFERRED") as db:
            rows = db.execute(
                "SELECT records, pieces FROM traces WHERE message = ? ORDER BY part", (message,)
            ).fetchall()
        pieces: dict[int, bytes] = {}
        for _, packed in rows:
            pieces |= msgspec.msgpack.decode(packed, type=dict[int, bytes])
        return Trace(b"".join(records for records, _ in rows), pieces)

    def activate(self, conversation: int, path: Iterable[Message]) -> None:
        """Remember `path` as the active one."""
        with self._transaction() as db:
            self._activate(db, conversation, path)

    def set_sampling(self, conversation: int, sampling: Sampling) -> None:
        """Remember a conversation's sampling settings."""
        with self._transaction() as db:
            db.execute(
                "UPDATE conversations SET sampling = ? WHERE id = ?",
                (_json(sampling), conversation),
            )

    def rename(self, conversation: int, title: str) -> None:
        """Give a conversation another title."""
        with self._transaction() as db:
            db.execute("UPDATE conversations SET title = ? WHERE id = ?", (title, conversation))

    def delete(self, conversation: int) -> None:
        """Delete a conversation with all its messages."""
        with self._transaction() as db:
            db.execute("DELETE FROM conversations WHERE id = ?", (conversation,))

    def remember(self, name: str, value: str) -> None:
        """Keep a small value for the next start."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO remembered VALUES (?, ?)", (name, _bytes(value)))

    def recall(self, name: str) -> str | None:
        """A value that was kept, or None."""
        with self._transaction("DEFERRED") as db:
            return _recalled(db, name)

    def keep_unsent(self, text: str) -> None:
        """Keep words that were not sent, after those that are kept already."""
        with self._transaction() as db:
            kept = _recalled(db, _UNSENT)
            both = f"{kept}\n\n{text}" if kept else text
            db.execute("INSERT OR REPLACE INTO remembered VALUES (?, ?)", (_UNSENT, _bytes(both)))

    def take_unsent(self) -> str:
        """The words that were kept, which are kept no longer."""
        with self._transaction() as db:
            kept = _recalled(db, _UNSENT)
            db.execute("DELETE FROM remembered WHERE name = ?", (_UNSENT,))
        return kept or ""

    @contextmanager
    def _transaction(self, mode: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        # IMMEDIATE, since a transaction that reads first and then writes can be refused the lock.
        with _explained(self._name), self._turn():
            self._db.execute(f"BEGIN {mode}")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                # Some failures have ended it already.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Have the connection, waiting for this program's threads and then for other programs, at
        most `patience` in all."""
        until = time.monotonic() + self.patience
        if not self._lock.acquire(timeout=self.patience):
            raise _busy(self._name)
        try:
            left = max(until - time.monotonic(), 0)
            self._db.execute(f"PRAGMA busy_timeout = {left * 1000:.0f}")
            yield
        finally:
            self._lock.release()

    def _add(
        self, db: sqlite3.Connection, conversation: int, messages: Iterable[Message]
    ) -> tuple[Message, ...]:
        added: list[Message] = []
        for message in messages:
            parent = added[-1].id if added else message.parent
            made = db.execute(
                "INSERT INTO messages (conversation, parent, role, text, created, ending, problem,"
                " model, changes, figures) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    conversation,
                    parent,
                    message.role,
                    message.text,
                    message.created,
                    *_progress(message),
                ),
            )
            id_ = made.lastrowid or 0
            added.append(msgspec.structs.replace(message, id=id_, parent=parent))
        self._activate(db, conversation, added)
        return tuple(added)

    @staticmethod
    def _activate(db: sqlite3.Connection, conversation: int, path: Iterable[Message]) -> None:
        db.executemany(
            "INSERT OR REPLACE INTO active VALUES (?, ?, ?)",
            [(conversation, message.parent or 0, message.id) for message in path],
        )
        db.execute("UPDATE conversations SET updated = ? WHERE id = ?", (time.time(), conversation))

    def _migrate(self) -> None:
        # The version is read again inside each transaction: another program may be migrating too.
        while True:
            with self._transaction() as db:
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version > len(MIGRATIONS):
                    raise StoreError(
                        f"{self._name} was written by a newer chatterm (version {version} of its "
                        f"tables, this program knows {len(MIGRATIONS)}).",
                        "Update chatterm, or set CHATTERM_DATA_DIR to another directory.",
                    )
                if version == len(MIGRATIONS):
                    return
                for statement in _statements(MIGRATIONS[version]):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {version + 1}")


def _statements(script: str) -> Iterator[str]:
    # executescript would commit the transaction that it runs in.
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _create_private(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _explain(name, error) from error
    except OSError as error:
        raise StoreError(
            f"{name} cannot be opened: {error.strerror or error}.",
            "Set CHATTERM_DATA_DIR to a directory that can be written.",
        ) from error


def _explain(name: str, error: sqlite3.DatabaseError) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreError(
            f"{name} is damaged: {error}.",
            "Move it away, and chatterm starts with a new one; nothing in it was changed.",
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreError("The disk is full.", "Free some space; the conversation goes on then.")
    if code == sqlite3.SQLITE_BUSY:
        return _busy(name)
    return StoreError(
        f"{name} cannot be used: {error}.",
        "Set CHATTERM_DATA_DIR to a directory that can be written.",
    )


def _busy(name: str) -> StoreError:
    return StoreError(
        f"{name} is locked by another program, or its disk is very slow.",
        "Try again when it is done.",
    )


def _recalled(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("SELECT value FROM remembered WHERE name = ?", (name,)).fetchone()
    return _text(row[0]) if row else None


# The name of a file need not be a text, so that SQLite would refuse it as one.
def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _progress(message: Message) -> tuple[str | None, str, str, str, str]:
    return (
        message.ending,
        message.problem,
        message.model,
        _json(message.changes),
        _json(message.figures),
    )


_changes: Callable[[str], tuple[Change, ...]] = msgspec.json.Decoder(tuple[Change, ...]).decode
_figures: Callable[[str], Figures] = msgspec.json.Decoder(Figures).decode


def _message(row: tuple[Any, ...]) -> Message:
    id_, parent, role, text, created, ending, problem, model, changes, figures = row
    return Message(
        id=id_,
        parent=parent,
        role=Role(role),
        text=text,
        created=created,
        ending=Ending(ending) if ending else None,
        problem=problem,
        model=model,
        changes=_changes(changes),
        figures=_figures(figures),
    )
