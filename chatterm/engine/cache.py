"""The KV cache: which tokens the model's context holds, and the one way to put more into it.

Invariant: `tokens` are exactly the tokens in llama.cpp's memory, in order, whatever was aborted or
refused.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import llama_cpp.llama_cpp as llama
import numpy as np
import numpy.typing as npt

from chatterm.engine.model import Model
from chatterm.engine.native import StopFlag, function, quick_function
from chatterm.engine.prefix import common_prefix
from chatterm.errors import EngineError

_decode = function("llama_decode", ctypes.c_int32, ctypes.c_void_p, llama.llama_batch)
_logits = quick_function("llama_get_logits_ith", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)

_ABORTED = 2
_FULL = 1


class Stopped(Exception):  # noqa: N818 - not an error: the user stopped the run
    """The stop flag ended the work between or within two batches."""


class Cache:
    """The one sequence of a model's context."""

    def __init__(self, model: Model) -> None:
        self.tokens: list[int] = []
        self._context = model.context
        memory = llama.llama_get_memory(model.context)
        assert memory
        self._memory = memory
        self._recurrent = model.recurrent
        self._n_vocab = model.vocab.size
        self._batch_size = min(model.batch, llama.llama_n_batch(model.context))
        self._buffer = (llama.llama_token * self._batch_size)()
        self._one = llama.llama_batch_get_one(self._buffer, 1)
        self._logits_at = 0
        self._logits_view = np.empty(0, np.float32)

    def clear(self) -> None:
        """Forget everything."""
        llama.llama_memory_clear(self._memory, False)
        self.tokens.clear()

    def ends_with(self, reply: Sequence[int]) -> bool:
        """Whether this reply is the last that was evaluated; its last token may not have been."""
        whole = list(reply)
        return any(end and self.tokens[-len(end) :] == end for end in (whole, whole[:-1]))

    def keep(self, prompt: list[int]) -> tuple[int, bool]:
        """Keep the longest beginning of `prompt` that is here, and leave a token to evaluate.

        Returns how many tokens were kept, and whether the cache refused to keep what it could.
        """
        common = common_prefix(self.tokens, prompt)
        common = min(common, len(prompt) - 1)
        if common == len(self.tokens):
            return common, False
        if common == 0:
            self.clear()
            return 0, False
        if self._cut(common):
            del self.tokens[common:]
            return common, False
        self.clear()
        return 0, True

    def _cut(self, length: int) -> bool:
        """Whether llama.cpp's memory holds the first `length` tokens, and only them, now."""
        memory = self._memory
        return bool(
            llama.llama_memory_seq_rm(memory, 0, length, -1)
            and llama.llama_memory_seq_pos_max(memory, 0) == length - 1
            and llama.llama_memory_seq_pos_min(memory, 0) == 0
        )

    def evaluate(
        self, tokens: Sequence[int], stop: StopFlag, progress: Callable[[int], None]
    ) -> None:
        """Evaluate `tokens` in batches; `progress` is told how many are done. Raises Stopped.

        Batches of other sizes compute in another order, to other last digits. The last token is a
        batch of its own, so a prompt that is wholly cached gives the logits that it gave when it
        was evaluated. Otherwise logits depend, in their last digits, on what was cached: a reply
        is written token by token, and read in batches by another process. There the same seed may
        come to draw another token. To keep to the same batches would cost most of one at each turn.
        """
        last = len(tokens) - 1
        for start in (*range(0, last, self._batch_size), last):
            if stop:
                raise Stopped
            end = min(start + self._batch_size, last) if start < last else len(tokens)
            part = tokens[start:end]
            self._buffer[: len(part)] = part
            batch = llama.llama_batch_get_one(self._buffer, len(part))
            self._check(_decode(self._context, batch), part)
            self.tokens.extend(part)
            progress(end)

    def decode(self, token: int) -> None:
        """Evaluate one token. Raises Stopped."""
        self._buffer[0] = token
        result = _decode(self._context, self._one)
        if result:
            self._check(result, (token,))
        self.tokens.append(token)

    def _check(self, result: int, batch: Sequence[int]) -> None:
        if result == 0:
            return
        # Micro-batches that were finished stay, but a recurrent state may be half of two.
        done = llama.llama_memory_seq_pos_max(self._memory, 0) + 1 - len(self.tokens)
        if self._recurrent or not 0 <= done <= len(batch):
            self.clear()
        else:
            self.tokens.extend(batch[:done])
        if result == _ABORTED:
            raise Stopped
        reason = "the KV cache is full" if result == _FULL else f"llama_decode gave {result}"
        raise EngineError(f"The model could not evaluate its input: {reason}.")

    def logits(self) -> npt.NDArray[np.float32]:
        """The logits after the last token evaluated: a view, valid until the next decode."""
        address = _logits(self._context, -1)
        if address != self._logits_at:
            pointer = ctypes.cast(address, ctypes.POINTER(ctypes.c_float))
            self._logits_view = np.ctypeslib.as_array(pointer, (self._n_vocab,))
            self._logits_at = address
        return self._logits_view
