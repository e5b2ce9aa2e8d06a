"""The trace of a reply as it is written: sampled tokens to the fixed records of `chat.trace`.

Invariant: while the model waits for its next token, a token costs a few copies into a batch; the
arithmetic is done for a whole batch by `pack`, on the thread that sends, while the model decodes.
A batch belongs to one of the two threads at a time.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chatterm.chat.trace import ALTERNATIVES, RECORD
from chatterm.engine.sampler import CANDIDATE, NUMBERS

# A batch takes so many tokens, and its logits at most so many numbers, which is a megabyte.
_TOKENS, _LOGITS = 64, 1 << 18
# When so many sendings wait, because the client does not read, the model waits, too.
_SENDINGS = 64

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


class Batch:
    """Tokens that were sampled one after the other.

    Before each is sampled, `head` and `sampled` are the arrays for the sampler to fill.
    """

    def __init__(self, n_vocab: int) -> None:
        self._capacity = capacity = min(max(_LOGITS // n_vocab, 1), _TOKENS)
        self._used = min(ALTERNATIVES, n_vocab)
        self._tokens: list[int] = []
        self._ends: list[int] = []
        self._versions: list[int] = []
        self._logits = np.empty((capacity, n_vocab), np.float32)
        self._heads = np.empty((capacity, self._used * NUMBERS), np.int32)
        self._sampled = np.empty((capacity, self._used), np.float32)
        self.clear()

    def clear(self) -> None:
        """Make it as new."""
        for column in (self._tokens, self._ends, self._versions):
            column.clear()
        self.head, self.sampled = self._heads[0], self._sampled[0]

    def __len__(self) -> int:
        return len(self._tokens)

    def add(self, logits: npt.NDArray[np.float32], token: int, end: int, version: int) -> bool:
        """One more token, of those logits; after it, the reply's text has `end` characters.

        Returns whether there is room for another.
        """
        tokens = self._tokens
        self._logits[len(tokens)] = logits
        tokens.append(token)
        self._ends.append(end)
        self._versions.append(version)
        count = len(tokens)
        if count == self._capacity:
            return False
        self.head, self.sampled = self._heads[count], self._sampled[count]
        return True

    def clamp(self, end: int) -> None:
        """The reply's text ends here, whatever its last tokens say."""
        self._ends = [min(one, end) for one in self._ends]

    def pack(self) -> tuple[bytes, set[int]]:
        """The records of its tokens, and all tokens that they name. Uses up the logits."""
        count, used = len(self._tokens), self._used
        heads = self._heads[:count].view(CANDIDATE)
        tokens, logits = np.array(self._tokens, np.int64), self._logits[:count]
        records = np.zeros(count, _RECORD)
        records["id"] = tokens
        records["end"] = self._ends
        records["version"] = self._versions
        records["used"] = used
        records["top"][:, :used] = heads["id"]
        records["top_sampled"][:, :used] = self._sampled[:count]
        chosen = logits[np.arange(count), tokens][:, None]
        likelier = np.count_nonzero(logits > chosen, axis=1)
        records["rank"] = _ranks(tokens[:, None], likelier, heads["id"])
        peaks = heads["logit"][:, :1].copy()
        totals = _exp_total(logits, peaks)
        records["p"] = (np.exp(chosen - peaks) / totals)[:, 0]
        records["top_p"][:, :used] = np.exp(heads["logit"] - peaks) / totals
        return records.tobytes(), {*self._tokens, *heads["id"].ravel().tolist()}


def _ranks(
    tokens: npt.NDArray[np.int64], likelier: npt.NDArray[Any], top: npt.NDArray[np.int32]
) -> npt.NDArray[Any]:
    """The place among `top`, which tells tied tokens apart, or how many are likelier."""
    among = top == tokens
    return np.where(among.any(axis=1), among.argmax(axis=1), likelier)


def _exp_total(logits: npt.NDArray[np.float32], peaks: npt.NDArray[np.float32]) -> Any:
    """The sum of exp(logit - peak) in each row, as a column. Overwrites the logits."""
    np.subtract(logits, peaks, logits)
    np.exp(logits, logits)
    return np.add.reduce(logits, axis=1, keepdims=True)


class Batches:
    """Batches that go round between the thread that fills them and the one that packs them."""

    def __init__(self, n_vocab: int) -> None:
        self._n_vocab = n_vocab
        self._free: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        self._sendings = threading.Semaphore(_SENDINGS)

    def take(self) -> Batch:
        """An empty batch."""
        return Batch(self._n_vocab) if self._free.empty() else self._free.get()

    def lend(self) -> None:
        """Some are about to be sent. Waits while too many sendings are under way."""
        self._sendings.acquire()

    def give_back(self, batches: Sequence[Batch]) -> None:
        """Those of one sending have been packed, and can be used again."""
        for batch in batches:
            batch.clear()
            self._free.put(batch)
        self._sendings.release()
