"""Long texts in a prompt, each shown as a short label in its place.

The invariant: every label stands for exactly one text, so that `expand` gives back what was put
in. A text area takes seconds over a line of a megabyte, and a person does not read it there.
"""

from __future__ import annotations

import re

LONG = 8_000
"""Characters from which a text is shown as a label."""


class Pastes:
    """Labels and the texts that they stand for."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def collapse(self, text: str) -> str:
        """A label for `text`, or `text` itself where it is short."""
        if len(text) < LONG:
            return text
        for label, known in self._texts.items():
            if known == text:
                return label
        lines = text.count("\n") + 1
        size = f"{len(text):,} characters, {lines:,} line{'s' if lines != 1 else ''}"
        label = f"[text {len(self._texts) + 1}: {size}]"
        self._texts[label] = text
        return label

    def expand(self, text: str) -> str:
        """`text` with the texts in place of their labels."""
        if not self._texts:
            return text
        labels = "|".join(re.escape(label) for label in self._texts)
        return re.sub(labels, lambda match: self._texts[match[0]], text)

    def span_around(self, line: str, column: int) -> tuple[int, int] | None:
        """Where the label that `column` lies strictly within starts and ends on `line`."""
        for label in self._texts:
            start = line.find(label)
            while start >= 0:
                if start < column < start + len(label):
                    return start, start + len(label)
                start = line.find(label, start + 1)
        return None

    def clear(self) -> None:
        """Forget all of them."""
        self._texts.clear()
