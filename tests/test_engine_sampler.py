"""Sampling against llama.cpp's own chain, over the same logits."""

from __future__ import annotations

from collections.abc import Iterator

import gguf_models
import numpy as np
import pytest

from chatterm.chat.sampling import Sampling
from chatterm.chat.trace import Trace
from chatterm.engine import model as models
from chatterm.engine.cache import Cache
from chatterm.engine.model import Model
from chatterm.engine.native import StopFlag
from chatterm.engine.protocol import Load
from chatterm.engine.records import Batch, Batches
from chatterm.engine.sampler import Chain, Sampler, resolve_seed

SETTINGS = [
    Sampling(seed=1),
    Sampling(seed=2, temperature=0),
    Sampling(seed=3, temperature=1.7, top_k=0),
    Sampling(seed=4, temperature=1.2, top_k=3),
    Sampling(seed=5, top_k=0, top_p=1, min_p=0, temperature=2),
    Sampling(seed=6, typical_p=0.6, temperature=1.5),
    Sampling(seed=7, min_p=0.3, temperature=2),
    Sampling(seed=8, repeat_penalty=1.5, repeat_last_n=16, temperature=1.5),
    Sampling(seed=9, presence_penalty=1, frequency_penalty=0.5, repeat_last_n=-1),
    Sampling(seed=10, temperature=0, repeat_penalty=1.3),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = gguf_models.write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf")
    command = Load(run=1, path=path, n_threads=1)
    loaded = models.load(command, StopFlag(), lambda _f: None, repack=True)
    yield loaded
    loaded.free()


def prefilled(model: Model) -> Cache:
    cache = Cache(model)
    cache.clear()
    cache.evaluate(model.vocab.tokenize("the cat sat on"), StopFlag(), lambda _done: None)
    return cache


def ours(model: Model, sampling: Sampling, count: int) -> tuple[list[int], Trace]:
    """Tokens and records by our own sampler."""
    cache, batch, ids, records = prefilled(model), Batch(model.vocab.size), [], b""
    sampler = Sampler(model.vocab, model.n_ctx, sampling.seed)
    sampler.use(sampling, cache.tokens)
    for _ in range(count):
        logits = cache.logits()
        token = sampler.sample(logits, batch.head, batch.sampled)
        room = batch.add(logits, token, 0, 0)
        ids.append(token)
        cache.decode(token)
        if not room or len(ids) == count:
            records += batch.pack()[0]
            batch.clear()
    sampler.close()
    return ids, Trace(records)


def llamas(model: Model, sampling: Sampling, count: int) -> list[int]:
    """Tokens by a chain of llama.cpp's, which has seen the prompt."""
    cache, ids = prefilled(model), []
    chain = Chain(sampling, model.vocab, model.n_ctx)
    for token in cache.tokens:
        chain.accept(token)
    for _ in range(count):
        ids.append(chain.sample(model.context))
        cache.decode(ids[-1])
    chain.close()
    return ids


@pytest.mark.parametrize("sampling", SETTINGS, ids=lambda sampling: f"seed {sampling.seed}")
def test_every_chain_draws_what_llama_cpp_draws(model: Model, sampling: Sampling) -> None:
    assert ours(model, sampling, 200)[0] == llamas(model, sampling, 200)


def test_greedy_takes_the_likeliest_token(model: Model) -> None:
    cache, ids = prefilled(model), []
    for _ in range(100):
        ids.append(int(np.argmax(cache.logits())))
        cache.decode(ids[-1])
    assert ours(model, Sampling(temperature=0, seed=1), 100)[0] == ids


def test_records_hold_the_softmax_of_the_logits(model: Model) -> None:
    cache = prefilled(model)
    logits = cache.logits().astype(np.float64)
    chances = np.exp(logits - logits.max())
    chances /= chances.sum()
    order = np.argsort(-chances)
    _, trace = ours(model, Sampling(seed=3, temperature=3, top_k=0, top_p=1, min_p=0), 1)
    record = trace[0]
    assert record.p == pytest.approx(chances[record.id], rel=1e-4)
    assert [choice.id for choice in record.top] == order[:10].tolist()
    assert [choice.p for choice in record.top] == pytest.approx(chances[order[:10]], rel=2e-3)
    assert record.rank == order.tolist().index(record.id)


def test_a_change_keeps_the_random_state(model: Model) -> None:
    """Settings that end where they began draw as if nothing had happened."""
    sampling = Sampling(seed=5, temperature=1.5)
    expected = ours(model, sampling, 60)[0]
    cache, batch, ids = prefilled(model), Batch(model.vocab.size), []
    sampler = Sampler(model.vocab, model.n_ctx, 5)
    for at in range(60):
        if at % 10 == 0:
            sampler.use(sampling, cache.tokens)
        ids.append(sampler.sample(cache.logits(), batch.head, batch.sampled))
        cache.decode(ids[-1])
    sampler.close()
    assert ids == expected


def test_a_change_keeps_the_history_of_the_penalties(model: Model) -> None:
    sampling = Sampling(seed=5, temperature=1.5, repeat_penalty=1.6, repeat_last_n=20)
    expected = ours(model, sampling, 60)[0]
    cache, batch, ids = prefilled(model), Batch(model.vocab.size), []
    sampler = Sampler(model.vocab, model.n_ctx, 5)
    for at in range(60):
        if at % 7 == 0:
            sampler.use(sampling, cache.tokens)
        ids.append(sampler.sample(cache.logits(), batch.head, batch.sampled))
        cache.decode(ids[-1])
    sampler.close()
    assert ids == expected


def test_another_seed_begins_another_sequence(model: Model) -> None:
    logits = prefilled(model).logits()
    batch = Batch(model.vocab.size)
    hot = {"temperature": 4.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}

    def draws(seeds: list[int]) -> list[int]:
        sampler, drawn = Sampler(model.vocab, model.n_ctx, 1), []
        for seed in seeds:
            sampler.use(Sampling(seed=seed, **hot), [])  # type: ignore[arg-type]
            drawn += [sampler.sample(logits, batch.head, batch.sampled) for _ in range(10)]
        sampler.close()
        return drawn

    assert draws([1, 2])[10:] == draws([2])
    assert draws([1, 1])[10:] != draws([1])
    assert draws([1, -1]) == draws([1, 1])


def test_a_seed_is_drawn_only_when_none_is_given() -> None:
    assert resolve_seed(0) == 0
    assert resolve_seed(17) == 17
    drawn = {resolve_seed(-1) for _ in range(8)}
    assert len(drawn) > 1
    assert all(0 <= seed < 2**32 for seed in drawn)


def test_a_batch_says_when_it_is_full_and_is_used_again(model: Model) -> None:
    logits = prefilled(model).logits()
    batches = Batches(model.vocab.size)
    batch = batches.take()
    for _ in range(2):
        room = True
        while room:
            batch.head[:] = 0
            batch.sampled[:] = 0
            room = batch.add(logits, 5, len(batch), 1)
        count = len(batch)
        batch.clamp(20)
        packed, named = batch.pack()
        trace = Trace(packed)
        assert named == {0, 5}
        assert [trace[at].end for at in range(count)] == [min(at, 20) for at in range(count)]
        batches.lend()
        batches.give_back([batch])
        assert batches.take() is batch
        assert len(batch) == 0
