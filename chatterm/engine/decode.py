"""The token loop: a prompt's tokens in, events with text and token records out.

Invariant: every token that is sampled is recorded, or ends the reply as an end-of-generation token;
nothing in the loop costs more the longer the reply is, but for the model's attention.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from chatterm.chat.message import Ending, Figures
from chatterm.chat.sampling import Sampling
from chatterm.engine.cache import Cache, Stopped
from chatterm.engine.model import Model
from chatterm.engine.protocol import Evaluated, Event, Finished, Started, Tokens
from chatterm.engine.records import Records
from chatterm.engine.run import Run
from chatterm.engine.sampler import Sampler, resolve_seed
from chatterm.engine.text import ReplyText
from chatterm.errors import PromptError

# A fast model's tokens are sent together; a model slower than this sends each one at once.
FLUSH_S = 0.02

_CUT_REFUSED = "This model's memory cannot be cut back, so the whole conversation is read again."

Send = Callable[[Event], None]


class Writer:
    """Writes one reply. Make it, `write` once."""

    def __init__(
        self, model: Model, cache: Cache, run: Run, send: Send, sampling: Sampling, version: int
    ) -> None:
        self._model = model
        self._cache = cache
        self._run = run
        self._send = send
        self._sampling = sampling
        self._version = version
        self._seed = resolve_seed(sampling.seed)
        self._records = Records(model.vocab.size)
        self._pending: list[str] = []
        self._named: set[int] = set()
        self._count = 0
        self._first_at = self._last_at = self._flushed_at = 0.0
        self._figures = Figures(seed=self._seed, n_ctx=model.n_ctx)

    def write(self, prompt: list[int], before: bytes = b"") -> Finished:
        """Evaluate `prompt`, write the reply, and return its closing event.

        `before` are the bytes of a reply that is continued. Raises PromptError for a prompt that
        does not fit.
        """
        self._check_room(len(prompt))
        self._text = ReplyText(self._sampling.stop, before)
        sampler = Sampler(self._model.vocab, self._model.n_ctx, self._seed)
        self._run.stop.watch(self._model.context)
        try:
            self._evaluate(prompt)
            sampler.use(self._sampling, self._cache.tokens)
            ending = self._loop(sampler)
        except Stopped:
            ending = Ending.STOPPED
        finally:
            sampler.close()
        self._pending.append(self._text.end())
        self._records.clamp(self._text.given)
        self._flush()
        return Finished(run=self._run.number, ending=ending, figures=self._final_figures())

    def _check_room(self, prompt_tokens: int) -> None:
        n_ctx = self._model.n_ctx
        if prompt_tokens == 0:
            raise PromptError("The prompt is empty.", "Type something.")
        if prompt_tokens >= n_ctx:
            raise PromptError(
                f"The prompt is {prompt_tokens} tokens long and the context holds {n_ctx}.",
                "Shorten it, or load the model with a larger context.",
            )

    def _evaluate(self, prompt: list[int]) -> None:
        kept, refused = self._cache.keep(prompt)
        number, total = self._run.number, len(prompt) - kept
        self._figures = msgspec.structs.replace(
            self._figures, prompt_tokens=len(prompt), cached_tokens=kept, evaluated_tokens=total
        )
        self._send(
            Started(
                run=number,
                prompt_tokens=len(prompt),
                cached_tokens=kept,
                seed=self._seed,
                notice=_CUT_REFUSED if refused else "",
            )
        )
        self._cache.evaluate(
            prompt[kept:],
            self._run.stop,
            lambda done: self._send(Evaluated(run=number, done=done, total=total)),
        )

    def _loop(self, sampler: Sampler) -> Ending:
        run, cache, vocab, text = self._run, self._cache, self._model.vocab, self._text
        records, clock = self._records, time.perf_counter
        tune = None
        while True:
            if run.tune is not tune and (tune := run.tune) is not None:
                self._retune(sampler)
            if self._count == self._sampling.max_tokens:
                return Ending.LENGTH
            if run.stopped_at is not None:
                return Ending.STOPPED
            logits = cache.logits()
            token = sampler.sample(logits, records.head, records.sampled)
            if vocab.is_eog(token):
                return Ending.EOG
            now = clock()
            piece, at_stop = text.add(vocab.piece(token))
            records.add(logits, token, text.length, self._version)
            if piece:
                self._pending.append(piece)
            self._count += 1
            self._last_at = now
            if self._count == 1:
                self._first_at = now
            if at_stop:
                return Ending.STOP
            if now - self._flushed_at >= FLUSH_S:
                self._flush()
                self._flushed_at = now
            if len(cache.tokens) + 1 >= self._model.n_ctx:
                return Ending.CONTEXT
            cache.decode(token)

    def _retune(self, sampler: Sampler) -> None:
        tune = self._run.tune
        assert tune is not None
        self._sampling, self._version = tune.sampling, tune.version
        self._text.set_stop(tune.sampling.stop)
        sampler.use(tune.sampling, self._cache.tokens)

    def _flush(self) -> None:
        records, named = self._records.take(self._text.given)
        text = "".join(self._pending)
        self._pending.clear()
        if not (records or text):
            return
        new = named - self._named
        self._named |= new
        elapsed = self._last_at - self._first_at
        self._send(
            Tokens(
                run=self._run.number,
                text=text,
                records=records,
                pieces={token: self._model.vocab.shown(token) for token in new},
                context_tokens=len(self._cache.tokens),
                tokens_per_s=(self._count - 1) / elapsed if elapsed > 0 else 0.0,
            )
        )

    def _final_figures(self) -> Figures:
        return msgspec.structs.replace(
            self._figures,
            completion_tokens=self._count,
            ttft_s=self._first_at - self._run.received if self._count else 0.0,
            decode_s=self._last_at - self._first_at,
            stop_s=self._run.stop_s,
        )
