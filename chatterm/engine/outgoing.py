"""Tokens events: what was sampled, as it goes to the client.

Invariant: used by the sending thread alone; a piece is sent when a run first names its token.
"""

from __future__ import annotations

from collections.abc import Sequence

from chatterm.engine.protocol import Tokens
from chatterm.engine.records import Batch, Batches
from chatterm.engine.vocab import Vocab


class Outgoing:
    """Makes the Tokens events of one run."""

    def __init__(self, run: int, vocab: Vocab, batches: Batches) -> None:
        self._run = run
        self._vocab = vocab
        self._batches = batches
        self._named: set[int] = set()

    def tokens(
        self, filled: Sequence[Batch], text: str, context_tokens: int, tokens_per_s: float
    ) -> Tokens:
        """The event for the tokens in these batches, which it gives back."""
        records, named = [], set[int]()
        for batch in filled:
            packed, tokens = batch.pack()
            records.append(packed)
            named |= tokens
        self._batches.give_back(filled)
        new = named - self._named
        self._named |= new
        return Tokens(
            run=self._run,
            text=text,
            records=b"".join(records),
            pieces={token: self._vocab.shown(token) for token in new},
            context_tokens=context_tokens,
            tokens_per_s=tokens_per_s,
        )
