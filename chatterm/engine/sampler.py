"""Sampling settings as llama.cpp's samplers, and one token's distribution before and after them.

Invariant: a change of settings replaces the filters and nothing else: the random state goes on, and
the penalties know the same tokens as if the new settings had held from the start.
"""

from __future__ import annotations

import ctypes
import secrets
from collections.abc import Sequence

import llama_cpp.llama_cpp as llama
import numpy as np
import numpy.typing as npt

from chatterm.chat.sampling import Sampling
from chatterm.chat.trace import ALTERNATIVES
from chatterm.engine.native import function, quick_function
from chatterm.engine.vocab import Vocab

_pointer, _int, _float, _size = ctypes.c_void_p, ctypes.c_int32, ctypes.c_float, ctypes.c_size_t
_apply = quick_function("llama_sampler_apply", None, _pointer, _pointer)
_accept = quick_function("llama_sampler_accept", None, _pointer, _int)
_free = quick_function("llama_sampler_free", None, _pointer)
_sample = function("llama_sampler_sample", _int, _pointer, _pointer, _int)
_chain = quick_function("llama_sampler_chain_init", _pointer, llama.llama_sampler_chain_params)
_add = quick_function("llama_sampler_chain_add", None, _pointer, _pointer)
_remove = quick_function("llama_sampler_chain_remove", _pointer, _pointer, _int)
_length = quick_function("llama_sampler_chain_n", ctypes.c_int, _pointer)
_greedy = quick_function("llama_sampler_init_greedy", _pointer)
_dist = quick_function("llama_sampler_init_dist", _pointer, ctypes.c_uint32)
_top_k = quick_function("llama_sampler_init_top_k", _pointer, _int)
_top_p = quick_function("llama_sampler_init_top_p", _pointer, _float, _size)
_min_p = quick_function("llama_sampler_init_min_p", _pointer, _float, _size)
_typical = quick_function("llama_sampler_init_typical", _pointer, _float, _size)
_temperature = quick_function("llama_sampler_init_temp_ext", _pointer, _float, _float, _float)
_penalties = quick_function(
    "llama_sampler_init_penalties", _pointer, _int, _int, _float, _float, _float
)
_bias = quick_function(
    "llama_sampler_init_logit_bias", _pointer, _int, _int, llama.llama_logit_bias_p
)

# llama_token_data, and how many numbers of four bytes it has.
CANDIDATE = np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
NUMBERS = 3


class _Candidates(ctypes.Structure):
    """llama_token_data_array, with its pointer as an integer."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("selected", ctypes.c_int64),
        ("sorted", ctypes.c_bool),
    )


def resolve_seed(seed: int) -> int:
    """The seed itself, or a new one for -1."""
    return seed if seed >= 0 else secrets.randbelow(2**32 - 1)


class Chain:
    """A whole sampler chain of llama.cpp's, which draws by its own loop."""

    def __init__(self, sampling: Sampling, vocab: Vocab, n_ctx: int) -> None:
        self._chain = _filters(sampling, vocab, n_ctx)
        seed = resolve_seed(sampling.seed)
        _add(self._chain, _greedy() if sampling.temperature <= 0 else _dist(seed))

    def sample(self, context: int) -> int:
        """Draw a token from the logits of the context's last decode, and remember it."""
        return int(_sample(self._chain, context, -1))

    def accept(self, token: int) -> None:
        """Remember a token that was not drawn here, of a prompt."""
        _accept(self._chain, token)

    def close(self) -> None:
        """Free it."""
        _free(self._chain)


def _filters(sampling: Sampling, vocab: Vocab, n_ctx: int) -> int:
    """A chain of what comes before the draw, in llama.cpp's order; its owner frees it.

    Greedy needs only what can change which token is the likeliest.
    """
    samplers = []
    if vocab.suppressed:
        biases = (llama.llama_logit_bias * len(vocab.suppressed))(
            *(llama.llama_logit_bias(token, float("-inf")) for token in vocab.suppressed)
        )
        samplers.append(_bias(vocab.size, len(biases), biases))
    samplers.append(
        _penalties(
            vocab.size,
            _penalty_window(sampling, n_ctx),
            sampling.repeat_penalty,
            sampling.frequency_penalty,
            sampling.presence_penalty,
        )
    )
    if sampling.temperature > 0:
        samplers += [
            _top_k(sampling.top_k),
            _typical(sampling.typical_p, 1),
            _top_p(sampling.top_p, 1),
            _min_p(sampling.min_p, 1),
            _temperature(sampling.temperature, 0.0, 1.0),
        ]
    parameters = llama.llama_sampler_chain_default_params()
    parameters.no_perf = True
    chain: int = _chain(parameters)
    for sampler in samplers:
        _add(chain, sampler)
    return chain


def _penalty_window(sampling: Sampling, n_ctx: int) -> int:
    """How many tokens the penalties look back on. llama.cpp allocates as many as it is told."""
    last = sampling.repeat_last_n
    return n_ctx if last < 0 else min(last, n_ctx)


class Sampler:
    """Draws tokens from logits. Call `use` before `sample`, and `close` when the reply is done."""

    def __init__(self, vocab: Vocab, n_ctx: int, seed: int) -> None:
        self._vocab = vocab
        self._n_ctx = n_ctx
        self._seed = seed
        self._dist: int = _dist(seed)
        self._chain: int = 0
        self._likeliest: int = 0
        self._candidates = _Buffer(vocab.size)
        self._by_id = np.zeros(vocab.size, np.float32)

    def use(self, sampling: Sampling, history: Sequence[int]) -> None:
        """Sample with these settings from now on. `history` is every token in the context."""
        self._free_chain()
        if sampling.seed not in (-1, self._seed):
            _free(self._dist)
            self._dist = _dist(sampling.seed)
            self._seed = sampling.seed
        self._is_greedy = sampling.temperature <= 0
        self._chain = _filters(sampling, self._vocab, self._n_ctx)
        _add(self._chain, _greedy() if self._is_greedy else self._dist)
        window = _penalty_window(sampling, self._n_ctx)
        self._penalises = window > 0 and _has_penalties(sampling)
        if self._penalises:
            for token in history[-window:]:
                _accept(self._chain, token)
        # Filters that begin with top-k go on from the sorted head; the others need all candidates.
        self._from_head = sampling.top_k > 0 and not (
            self._penalises or self._is_greedy or self._vocab.suppressed
        )
        self._keeps_order = self._from_head and sampling.typical_p >= 1
        count = max(sampling.top_k, ALTERNATIVES) if self._from_head else ALTERNATIVES
        _free(self._likeliest)
        self._likeliest = _top_k(count)

    def sample(
        self,
        logits: npt.NDArray[np.float32],
        head: npt.NDArray[np.int32],
        sampled: npt.NDArray[np.float32],
    ) -> int:
        """Draw a token.

        `head` is filled with the likeliest candidates before samplers, best first, as the numbers
        of `CANDIDATE`, and `sampled` with the probabilities that these had when one was drawn.
        """
        candidates = self._candidates
        candidates.fill(logits)
        _apply(self._likeliest, candidates.pointer)
        head[:] = candidates.numbers[: len(head)]
        if not self._from_head:
            candidates.refill()
        _apply(self._chain, candidates.pointer)
        chosen: int = candidates.array.selected
        token: int = candidates.ids.item(chosen)
        if self._keeps_order:
            left = min(candidates.array.size, len(sampled))
            sampled[:left] = candidates.p[:left]
            sampled[left:] = 0
        else:
            self._look_up(head[::NUMBERS], chosen, sampled)
        if self._penalises:
            _accept(self._chain, token)
        return token

    def _look_up(
        self, top: npt.NDArray[np.int32], chosen: int, sampled: npt.NDArray[np.float32]
    ) -> None:
        """Find the tokens `top` among candidates in any order, for their probabilities."""
        candidates, by_id = self._candidates, self._by_id
        if self._is_greedy:
            left = candidates.ids[chosen : chosen + 1]
            by_id[left] = 1
        else:
            left = candidates.ids[: candidates.array.size]
            by_id[left] = candidates.p[: candidates.array.size]
        sampled[:] = by_id[top]
        by_id[left] = 0

    def close(self) -> None:
        """Free llama.cpp's samplers."""
        self._free_chain()
        _free(self._dist)
        _free(self._likeliest)

    def _free_chain(self) -> None:
        if self._chain and not self._is_greedy:
            # A chain frees what is in it, and the random state must outlive this one.
            _remove(self._chain, _length(self._chain) - 1)
        _free(self._chain)


class _Buffer:
    """llama_token_data_array over numpy memory: every token of the vocabulary as a candidate."""

    def __init__(self, size: int) -> None:
        candidates = np.zeros(size, CANDIDATE)
        self.ids = candidates["id"]
        self.logits = candidates["logit"]
        self.p = candidates["p"]
        self._size = size
        # Samplers sort and cut the array, so it is copied anew from a pristine one, as plain
        # numbers, which is one move of memory.
        self.numbers = candidates.view(np.int32)
        pristine = np.zeros(size, CANDIDATE)
        pristine["id"] = np.arange(size)
        self._pristine_rows = pristine.view(np.int32)
        self._pristine_logits = pristine["logit"]
        self.array = _Candidates(candidates.ctypes.data, size, -1, False)
        self.pointer = ctypes.addressof(self.array)

    def fill(self, logits: npt.NDArray[np.float32]) -> None:
        """All tokens, in the order of their ids, with these logits."""
        self._pristine_logits[:] = logits
        self.refill()

    def refill(self) -> None:
        """All tokens again, with the logits of the last `fill`."""
        self.numbers[:] = self._pristine_rows
        self.array.size = self._size
        self.array.selected = -1
        self.array.sorted = False


def _has_penalties(sampling: Sampling) -> bool:
    return (
        sampling.repeat_penalty != 1
        or sampling.frequency_penalty != 0
        or sampling.presence_penalty != 0
    )
