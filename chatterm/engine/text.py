"""The text of a reply, from the bytes of its tokens as they come.

Invariants: what has been given out is never taken back; the text given out is what the bytes decode
to, but for an unfinished character at the end, up to the first stop string. A token costs the same
wherever in the reply it stands.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

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


class TokenText:
    """The text of tokens that are known, place by place."""

    def __init__(self, vocab: Vocab, tokens: Sequence[int]) -> None:
        decoder = _decoder("replace")
        parts: list[str] = []
        # After how many tokens a character ends, and how many characters there are then.
        self._steps: list[tuple[int, int]] = []
        length = 0
        for count, token in enumerate(tokens, 1):
            part = decoder.decode(vocab.piece(token))
            parts.append(part)
            length += len(part)
            if not decoder.getstate()[0] or count == len(tokens):
                self._steps.append((count, length))
        self._text = clean("".join(parts))

    def matching(self, *texts: str) -> tuple[int, int]:
        """How many of the tokens, and characters, all `texts` begin with."""
        shared = min(common_prefix(self._text, text) for text in texts)
        fitting = [step for step in self._steps if step[1] <= shared]
        return fitting[-1] if fitting else (0, 0)
