"""The text of a reply, from the bytes of its tokens as they come.

Invariants: what has been given out is never taken back; the text given out is what the bytes decode
to, but for an unfinished character at the end, up to the first stop string. A token costs the same
wherever in the reply it stands.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import NamedTuple

from chatterm.chat.clean import clean
from chatterm.engine.prefix import common_prefix
from chatterm.engine.vocab import Vocab

_decoder = codecs.getincrementaldecoder("utf-8")


class ReplyText:
    """Bytes in, text out. `length` counts the characters decoded, `given` those given out.

    Text that may turn out to begin a stop string is held back until that is decided.
    """

    def __init__(self, stop: tuple[str, ...] = (), before: bytes = b"") -> None:
        """`before`: bytes of the reply so far, when it is continued."""
        self._decode = _decoder("replace")
        self.length = len(self._decode.decode(before))
        self.given = self.length
        self._stop = stop
        self._held = ""

    def set_stop(self, stop: tuple[str, ...]) -> None:
        """Other stop strings, for text from here on and what is held back."""
        self._stop = stop

    def add(self, data: bytes) -> tuple[str, bool]:
        """The text that these bytes make certain, and whether a stop string ends the reply."""
        text = self._decode.decode(data)
        self.length += len(text)
        if not self._stop and not self._held:
            self.given += len(text)
            return text, False
        return self._past_stops(self._held + text)

    def _past_stops(self, text: str) -> tuple[str, bool]:
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if found:
            keep, self._held = min(found), ""
        else:
            keep = len(text) - self._possible_start(text)
            self._held = text[keep:]
        self.given += keep
        if found:
            self.length = self.given
        return text[:keep], bool(found)

    def _possible_start(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for size in range(min(longest, len(text)), 0, -1):
            end = text[-size:]
            if any(stop.startswith(end) for stop in self._stop):
                return size
        return 0

    def end(self) -> str:
        """What was held back, now that nothing follows. An unfinished character is dropped."""
        text, self._held = self._held, ""
        self.given += len(text)
        return text


def decode(data: bytes) -> str:
    """All of a reply's bytes as text, without an unfinished character at the end."""
    return _decoder("replace").decode(data)


class Boundary(NamedTuple):
    """A place in a text where no character is cut: after so many tokens, and characters."""

    tokens: int
    characters: int


class TokenText:
    """Where a text's tokens begin and end, as far as it still is what they spell."""

    def __init__(self, vocab: Vocab, tokens: Sequence[int], text: str) -> None:
        decoder = _decoder("replace")
        parts: list[str] = []
        boundaries = [Boundary(0, 0)]
        length = 0
        for count, token in enumerate(tokens, 1):
            part = decoder.decode(vocab.piece(token))
            parts.append(part)
            length += len(part)
            if not decoder.getstate()[0] or count == len(tokens):
                boundaries.append(Boundary(count, length))
        shared = common_prefix(clean("".join(parts)), text)
        self._boundaries = [place for place in boundaries if place.characters <= shared]

    @property
    def end(self) -> Boundary:
        """The last one."""
        return self._boundaries[-1]

    def within(self, start: int, end: int) -> tuple[Boundary, Boundary] | None:
        """The first and the last one from character `start` to `end`."""
        inside = [place for place in self._boundaries if start <= place.characters <= end]
        return (inside[0], inside[-1]) if inside else None
