"""What the engine is given of a conversation: its texts, and the tokens that replies are made of.

The invariant: a reply goes into a prompt with the tokens that were sampled for it, all of them, so
that the engine finds them in its cache and goes on from the last.
"""

from __future__ import annotations

from chatterm.chat.message import Message, Role
from chatterm.chat.trace import Trace, pack_ids
from chatterm.engine.protocol import PromptMessage
from chatterm.store import Store


class ReplyTokens:
    """The token ids of replies, as far as they were written or needed since the start."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids: dict[int, bytes] = {}

    def learn(self, path: tuple[Message, ...]) -> None:
        """Have those of the replies in `path` at hand. Waits for the store. Raises StoreError."""
        for message in path:
            if message.role is Role.ASSISTANT and message.id not in self._ids:
                stored = pack_ids(self._store.trace(message.id).ids())
                # Those of a reply that has begun meanwhile are newer.
                self._ids.setdefault(message.id, stored)

    def grow(self, message_id: int, news: Trace) -> int:
        """A reply has grown by `news`. Returns how many tokens it had before."""
        before = self._ids.get(message_id, b"")
        self._ids[message_id] = before + pack_ids(news.ids())
        return len(before) // 4

    def prompt(self, path: tuple[Message, ...]) -> tuple[PromptMessage, ...]:
        """The messages of `path`, whose replies were learned, but for a reply that has no text."""
        return tuple(
            PromptMessage(
                role=message.role, text=message.text, tokens=self._ids.get(message.id, b"")
            )
            for message in path
            if message.text or message.role is not Role.ASSISTANT
        )
