"""The texts that were sent before, those that could be sent, and a place among them.

The invariant: walking loses nothing. What stood at a place when it was left, the unsent text
included, stands there again until `leave`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence


class PromptHistory:
    """Texts, oldest first, after them the one that is not yet sent, and after it suggestions."""

    def __init__(self, texts: Iterable[str], show: Callable[[str], str]) -> None:
        """`show` makes of one of the texts what is shown in its place."""
        self._show = show
        self._texts = list(texts)
        self._suggestions: tuple[str, ...] = ()
        self._at = len(self._texts)
        self._left: dict[int, str] = {}

    def walk(self, step: int, shown: str) -> str | None:
        """What is shown `step` places further, or None at the ends; `shown` is what is here."""
        to = self._at + step
        unsent = len(self._texts)
        if not 0 <= to <= unsent + len(self._suggestions):
            return None
        self._left[self._at] = shown
        self._at = to
        if to in self._left:
            return self._left[to]
        return self._show(self._texts[to] if to < unsent else self._suggestions[to - unsent - 1])

    def suggest(self, texts: Sequence[str]) -> None:
        """Have these to walk to after the unsent text, instead of those before."""
        if tuple(texts) != self._suggestions:
            self._suggestions = tuple(texts)
            self.leave()

    def leave(self) -> None:
        """Go to the unsent text, and forget what was left on the way."""
        self._left.clear()
        self._at = len(self._texts)

    def remember(self, text: str) -> None:
        """Add a text to the end, unless it is there already, and go there."""
        if self._texts[-1:] != [text]:
            self._texts.append(text)
        self.leave()
