"""The trace of a reply as it is written: sampled tokens to the fixed records of `chat.trace`.

Invariant: a token's record is made once its text has been given out, so that its `end` can no
longer move. While the model decodes, a token costs a few copies into arrays; the arithmetic is done
for many tokens at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from chatterm.chat.trace import ALTERNATIVES, RECORD
from chatterm.engine.sampler import CANDIDATE, NUMBERS
from chatterm.errors import ModelError

# Logits that wait for their sum, at most, in tokens times vocabulary: half a megabyte.
_WAITING = 1 << 17

_RECORD = np.dtype(
    [
        ("id", "<u4"),
        ("p", "<f4"),
        ("rank", "<u4"),
        ("end", "<u4"),
        ("version", "<u2"),
        ("used", "<u2"),
        ("top", "<u4", ALTERNATIVES),
        ("top_p", "<f2", ALTERNATIVES),
        ("top_sampled", "<f2", ALTERNATIVES),
    ]
)
assert _RECORD.itemsize == RECORD.size


class Records:
    """Tokens that have been sampled and not yet been sent.

    Before each token is sampled, `head` and `sampled` are the arrays for the sampler to fill.
    """

    def __init__(self, n_vocab: int) -> None:
        self._used = min(ALTERNATIVES, n_vocab)
        self._tokens: list[tuple[int, float, int, int, int]] = []
        self._heads = np.zeros((64, self._used * NUMBERS), np.int32)
        self._sampled = np.zeros((64, self._used), np.float32)
        self._totals = np.zeros(64, np.float32)
        self._waiting = np.zeros((max(_WAITING // n_vocab, 1), n_vocab), np.float32)
        self._summed = 0
        self._next()

    def _next(self) -> None:
        at = len(self._tokens)
        if at == len(self._heads):
            self._heads, self._sampled, self._totals = (
                np.concatenate([array, np.zeros_like(array)])
                for array in (self._heads, self._sampled, self._totals)
            )
        self.head = self._heads[at]
        self.sampled = self._sampled[at]

    def add(
        self, logits: npt.NDArray[np.float32], token: int, end: int, version: int
    ) -> None:
        """One more token, of those logits; after it, the reply's text has `end` characters.

        Raises ModelError when logits are not numbers.
        """
        at = len(self._tokens)
        floats = self.head.view(np.float32)
        logit, peak, last = logits.item(token), floats.item(1), floats.item(-2)
        rank = -1 if logit >= last else int(np.count_nonzero(logits > logit))
        np.subtract(logits, peak, self._waiting[at - self._summed])
        self._tokens.append((token, logit - peak, rank, end, version))
        if at + 1 - self._summed == len(self._waiting):
            self._sum()
        self._next()

    def _sum(self) -> None:
        """Make totals of the logits that wait."""
        count = len(self._tokens) - self._summed
        if count == 0:
            return
        waiting = self._waiting[:count]
        np.exp(waiting, waiting)
        totals = np.add.reduce(waiting, axis=1)
        if not np.isfinite(totals).all():
            raise ModelError(
                "The model computes no numbers: its weights are damaged.",
                "Download it again, or choose another quantisation.",
            )
        self._totals[self._summed : self._summed + count] = totals
        self._summed += count

    def clamp(self, end: int) -> None:
        """The reply's text ends here, whatever its last tokens say."""
        self._tokens = [(*token[:3], min(token[3], end), token[4]) for token in self._tokens]

    def take(self, given: int) -> tuple[bytes, set[int]]:
        """The records of tokens that end within the first `given` characters, and all tokens
        that they name. They are forgotten here."""
        self._sum()
        count = len(self._tokens)
        while count and self._tokens[count - 1][3] > given:
            count -= 1
        if not count:
            return b"", set()
        records = self._make(count)
        self._forget(count)
        named = set(records["top"][:, : self._used].ravel().tolist())
        named.update(records["id"].tolist())
        return records.tobytes(), named

    def _make(self, count: int) -> npt.NDArray[Any]:
        used = self._used
        tokens, logits, ranks, ends, versions = zip(*self._tokens[:count], strict=True)
        totals = self._totals[:count]
        heads = self._heads[:count].view(CANDIDATE)
        records = np.zeros(count, _RECORD)
        records["id"] = tokens
        records["p"] = np.exp(np.array(logits, np.float32)) / totals
        records["rank"] = _ranks(np.array(tokens), np.array(ranks), heads["id"])
        records["end"] = ends
        records["version"] = versions
        records["used"] = used
        records["top"][:, :used] = heads["id"]
        top = np.exp(heads["logit"] - heads["logit"][:, :1]) / totals[:, None]
        records["top_p"][:, :used] = top
        records["top_sampled"][:, :used] = self._sampled[:count]
        return records

    def _forget(self, count: int) -> None:
        left = len(self._tokens) - count
        for array in (self._heads, self._sampled, self._totals):
            array[:left] = array[count : count + left].copy()
        del self._tokens[:count]
        self._summed = left
        self._next()


def _ranks(
    tokens: npt.NDArray[np.int64], ranks: npt.NDArray[np.int64], top: npt.NDArray[np.int32]
) -> npt.NDArray[np.int64]:
    """The ranks given, or the place among `top`; just after them for a tie with the last."""
    among = top == tokens[:, None]
    places = np.where(among.any(axis=1), among.argmax(axis=1), top.shape[1])
    return np.where(ranks < 0, places, ranks)
