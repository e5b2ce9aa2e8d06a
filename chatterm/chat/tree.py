"""A conversation as a tree of messages, with one active path through it.

Nothing is overwritten: to rephrase or retry is to add a sibling. Each node remembers which of its
children was active last, so that going back to a branch finds it as it was left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec

from chatterm.chat.message import Message


class Tree(msgspec.Struct, frozen=True):
    """Messages by id, the children of each in the order they were made, and the active child.

    The key None stands for the conversation itself, the parent of the first messages.
    """

    messages: Mapping[int, Message] = MappingProxyType({})
    children: Mapping[int | None, tuple[int, ...]] = MappingProxyType({})
    active: Mapping[int | None, int] = MappingProxyType({})

    @classmethod
    def of(cls, messages: Iterable[Message], active: Mapping[int | None, int]) -> Tree:
        """A tree of stored messages, parents before children; unknown parents become roots."""
        by_id: dict[int, Message] = {}
        children: dict[int | None, tuple[int, ...]] = {}
        for message in messages:
            parent = message.parent if message.parent in by_id else None
            by_id[message.id] = msgspec.structs.replace(message, parent=parent)
            children[parent] = (*children.get(parent, ()), message.id)
        chosen = {
            parent: active[parent] if active.get(parent) in ids else ids[-1]
            for parent, ids in children.items()
        }
        return cls(by_id, children, chosen)

    def added(self, message: Message) -> Tree:
        """The tree with `message` as its parent's newest child, and active."""
        siblings = (*self.children.get(message.parent, ()), message.id)
        return Tree(
            {**self.messages, message.id: message},
            {**self.children, message.parent: siblings},
            {**self.active, message.parent: message.id},
        )

    def replaced(self, message: Message) -> Tree:
        """The tree with a newer value of a message that it has."""
        return Tree({**self.messages, message.id: message}, self.children, self.active)

    def selected(self, message_id: int) -> Tree:
        """The tree with the active path going through `message_id`."""
        active = dict(self.active)
        for message in self.path_to(message_id):
            active[message.parent] = message.id
        return Tree(self.messages, self.children, active)

    def path(self) -> tuple[Message, ...]:
        """The active path, from the first message to the last."""
        found: list[Message] = []
        at = self.active.get(None)
        while at is not None:
            found.append(self.messages[at])
            at = self.active.get(at)
        return tuple(found)

    def path_to(self, message_id: int) -> tuple[Message, ...]:
        """From the first message to `message_id`, whether active or not."""
        found: list[Message] = []
        at: int | None = message_id
        while at is not None:
            message = self.messages[at]
            found.append(message)
            at = message.parent
        return tuple(reversed(found))

    def siblings(self, message_id: int) -> tuple[int, ...]:
        """The messages with the same parent, itself included, oldest first."""
        return self.children[self.messages[message_id].parent]

    def sibling(self, message_id: int, offset: int) -> int:
        """The sibling `offset` places further, stopping at the ends."""
        ids = self.siblings(message_id)
        return ids[min(max(ids.index(message_id) + offset, 0), len(ids) - 1)]
