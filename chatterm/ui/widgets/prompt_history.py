"""The texts that were sent before, and a place among them.

The invariant: walking loses nothing. What stood at a place when it was left, the unsent text at
the end included, stands there again until `leave`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable


class PromptHistory:
    """Texts, oldest first, and after them the one that is not yet sent."""

    def __init__(self, texts: Iterable[str], show: Callable[[str], str]) -> None:
        """`show` makes of one of the texts what is shown in its place."""
        self._show = show
        self._texts = list(texts)
        self._at = len(self._texts)
        self._left: dict[int, str] = {}

    def walk(self, step: int, shown: str) -> str | None:
        """What is shown `step` places further, or None at the ends; `shown` is what is here."""
        to = self._at + step
        if not 0 <= to <= len(self._texts):
            return None
        self._left[self._at] = shown
        self._at = to
        return self._left[to] if to in self._left else self._show(self._texts[to])

    def leave(self) -> None:
        """Go to the end, and forget what was left on the way."""
        self._left.clear()
        self._at = len(self._texts)

    def remember(self, text: str) -> None:
        """Add a text to the end, unless it is there already, and go there."""
        if self._texts[-1:] != [text]:
            self._texts.append(text)
        self.leave()
