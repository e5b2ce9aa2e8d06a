"""llama.cpp alone, as the yardstick of the engine's own loop: decode, sample, nothing else."""

from __future__ import annotations

import time

import llama_cpp.llama_cpp as llama
import numpy as np

from chatterm.engine.cache import Cache, Stopped
from chatterm.engine.model import Model
from chatterm.engine.protocol import BareLoop, BareLoopDone
from chatterm.engine.run import Run
from chatterm.engine.sampler import Chain
from chatterm.errors import PromptError


def measure(model: Model, cache: Cache, run: Run, command: BareLoop) -> BareLoopDone:
    """Rates of evaluating `n_prompt` random tokens and of decoding `n_decode` after them.

    Ends of generation are decoded as any token. Raises PromptError when they do not fit, and
    Stopped.
    """
    if not 0 < command.n_prompt <= model.n_ctx - command.n_decode:
        raise PromptError(
            f"{command.n_prompt} + {command.n_decode} tokens do not fit the context "
            f"of {model.n_ctx}."
        )
    model.set_threads(command.n_threads)
    model.watch(run.stop)
    prompt = np.random.default_rng(0).integers(0, model.vocab.size, command.n_prompt).tolist()
    cache.clear()
    begun = time.perf_counter()
    cache.evaluate(prompt, run.stop, lambda _done: None)
    evaluated = time.perf_counter()
    _decode(model, command)
    done = time.perf_counter()
    cache.clear()
    return BareLoopDone(
        run=run.number,
        prefill_tps=command.n_prompt / (evaluated - begun),
        decode_tps=command.n_decode / (done - evaluated),
    )


def _decode(model: Model, command: BareLoop) -> None:
    chain = Chain(command.sampling, model.vocab, model.n_ctx)
    token = (llama.llama_token * 1)()
    batch = llama.llama_batch_get_one(token, 1)
    try:
        for _ in range(command.n_decode):
            token[0] = chain.sample(model.context)
            if llama.llama_decode(model.context, batch) != 0:
                raise Stopped
    finally:
        chain.close()
