"""What is unusual about how a prompt is evaluated, in words for the user.

Invariant: what follows from a model's template is told once for each load of the model.
"""

from __future__ import annotations

_CUT_REFUSED = "This model's memory cannot be cut back, so the whole conversation is read again."
_REWRITTEN = "This model's template rewrites earlier replies, so {} tokens are read again."
# Fewer tokens read again are not worth a word.
_FEW = 32


class Notices:
    """The notices of one loaded model."""

    def __init__(self) -> None:
        self._told_rewriting = False

    def of(self, *, refused: bool, read_again: int) -> str:
        """The notice for a prompt, or nothing.

        refused: the cache could not be cut back. read_again: tokens of a reply that was in the
        cache, and of the template's text before it, which are evaluated once more.
        """
        if refused:
            return _CUT_REFUSED
        if read_again <= _FEW or self._told_rewriting:
            return ""
        self._told_rewriting = True
        return _REWRITTEN.format(read_again)
