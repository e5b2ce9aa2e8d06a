"""The token loop: a prompt's tokens in, events with text and token records out.

Invariant: every token that is sampled is recorded, or ends the reply as an end-of-generation token;
nothing in the loop costs more the longer the reply is, but for the model's attention.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from math import isfinite

import msgspec
import numpy as np
import numpy.typing as npt

from chatterm.chat.message import Ending, Figures
from chatterm.chat.sampling import checked
from chatterm.engine.cache import Cache, Stopped
from chatterm.engine.model import Model
from chatterm.engine.notices import Notices
from chatterm.engine.outgoing import Outgoing
from chatterm.engine.prompt import Prompt
from chatterm.engine.protocol import Evaluated, Event, Finished, Generate, Started
from chatterm.engine.records import Batch, Batches
from chatterm.engine.run import Run
from chatterm.engine.sampler import Sampler, resolve_seed
from chatterm.engine.text import ReplyText
from chatterm.errors import ModelError, PromptError

# A fast model's tokens are sent together; a model slower than this sends each one at once.
FLUSH_S = 0.02

# An event, or what makes it on the thread that sends.
Send = Callable[[Event | Callable[[], Event]], None]


class Writer:
    """Writes one reply. Make it, `write` once."""

    def __init__(
        self,
        model: Model,
        cache: Cache,
        notices: Notices,
        run: Run,
        send: Send,
        command: Generate,
    ) -> None:
        """Raises SettingsError when the command's sampling settings are not possible."""
        self._model = model
        self._cache = cache
        self._notices = notices
        self._run = run
        self._send = send
        self._sampling = checked(command.sampling)
        self._version = command.version
        self._endless = command.endless
        self._seed = resolve_seed(self._sampling.seed)
        self._text = ReplyText()
        self._batches = Batches(model.vocab.size)
        self._filled: list[Batch] = []
        self._outgoing = Outgoing(run.number, model.vocab, self._batches)
        self._unsent: list[str] = []
        self._count = 0
        self._first_at = self._last_at = self._flushed_at = 0.0
        self._waited = 0.0  # seconds between the first token and the last, for the pace
        self._figures = Figures(seed=self._seed, n_ctx=model.n_ctx)

    def write(self, prompt: Prompt) -> Finished:
        """Evaluate `prompt`, write the reply, and return its closing event.

        Raises PromptError for a prompt that does not fit, and ModelError for a model whose weights
        are damaged.
        """
        self._check_room(len(prompt.tokens))
        self._text = ReplyText(self._sampling.stop, prompt.before)
        sampler = Sampler(self._model.vocab, self._model.n_ctx, self._seed)
        self._model.watch(self._run.stop)
        try:
            self._evaluate(prompt)
            sampler.use(self._sampling, self._cache.tokens)
            ending = self._loop(sampler)
        except Stopped:
            ending = Ending.STOPPED
        finally:
            sampler.close()
            self._finish()
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

    def _evaluate(self, prompt: Prompt) -> None:
        # Else the user has gone back, or to another branch, and nothing is the template's doing.
        goes_on = self._cache.ends_with(prompt.reply)
        kept, refused = self._cache.keep(prompt.tokens)
        read_again = prompt.reply_end - kept if goes_on else 0
        number, total = self._run.number, len(prompt.tokens) - kept
        self._figures = msgspec.structs.replace(
            self._figures,
            prompt_tokens=len(prompt.tokens),
            cached_tokens=kept,
            evaluated_tokens=total,
        )
        self._send(
            Started(
                run=number,
                prompt_tokens=len(prompt.tokens),
                cached_tokens=kept,
                seed=self._seed,
                notice=self._notices.of(refused=refused, read_again=read_again),
            )
        )
        self._cache.evaluate(
            prompt.tokens[kept:],
            self._run.stop,
            lambda done: self._send(Evaluated(run=number, done=done, total=total)),
        )

    def _loop(self, sampler: Sampler) -> Ending:
        run, cache, vocab, text = self._run, self._cache, self._model.vocab, self._text
        clock = time.perf_counter
        batch = self._next_batch()
        tune = None
        while True:
            waited = run.wait_for_turn(self._last_at) if self._count else 0.0
            if run.tune is not tune and (tune := run.tune) is not None:
                self._retune(sampler)
            if 0 <= self._sampling.max_tokens <= self._count:
                return Ending.LENGTH
            if run.stopped_at is not None:
                return Ending.STOPPED
            logits = cache.logits()
            token = sampler.sample(logits, batch.head, batch.sampled)
            if vocab.is_eog(token) and not self._endless:
                return Ending.EOG
            self._last_at = now = clock()
            self._waited += waited
            piece, at_stop = text.add(vocab.piece(token))
            room = batch.add(logits, token, text.length, self._version)
            if piece:
                self._unsent.append(piece)
            self._count += 1
            if self._count == 1:
                self._first_at = now
            if at_stop:
                return Ending.STOP
            if now - self._flushed_at >= FLUSH_S and text.given == text.length:
                _check_numbers(logits)
                self._flush()
                self._flushed_at = now
                batch = self._next_batch()
            elif not room:
                batch = self._next_batch()
            if len(cache.tokens) + 1 >= self._model.n_ctx:
                return Ending.CONTEXT
            cache.decode(token)

    def _decode_s(self) -> float:
        """Seconds from the first token to the last, without those waited for the pace."""
        return self._last_at - self._first_at - self._waited

    def _next_batch(self) -> Batch:
        batch = self._batches.take()
        self._filled.append(batch)
        return batch

    def _retune(self, sampler: Sampler) -> None:
        tune = self._run.tune
        assert tune is not None
        self._sampling, self._version = tune.sampling, tune.version
        self._text.set_stop(tune.sampling.stop)
        sampler.use(tune.sampling, self._cache.tokens)

    def _flush(self) -> None:
        """Have all that was sampled sent. Not while text is held back: it may be cut yet."""
        elapsed = self._decode_s()
        rate = (self._count - 1) / elapsed if elapsed > 0 else 0.0
        filled, text, context = self._filled, "".join(self._unsent), len(self._cache.tokens)
        self._batches.lend()
        self._send(partial(self._outgoing.tokens, filled, text, context, rate))
        self._filled, self._unsent = [], []

    def _finish(self) -> None:
        self._unsent.append(self._text.end())
        for batch in self._filled:
            batch.clamp(self._text.given)
        if any(self._unsent) or any(self._filled):
            self._flush()

    def _final_figures(self) -> Figures:
        return msgspec.structs.replace(
            self._figures,
            completion_tokens=self._count,
            ttft_s=self._first_at - self._run.received if self._count else 0.0,
            decode_s=self._decode_s(),
            stop_s=self._run.stop_s,
        )


def _check_numbers(logits: npt.NDArray[np.float32]) -> None:
    """Raise a ModelError for NaN. Now and then is enough: damage does not go away."""
    if not isfinite(np.maximum.reduce(logits)):
        raise ModelError(
            "The model computes no numbers: its weights are damaged.",
            "Download it again, or choose another quantisation.",
        )
