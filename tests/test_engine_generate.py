"""Replies, by the real engine process over its real pipe, with tiny models."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import gguf_models
import pytest
from engine_driver import EngineDriver, Reply, spoken, turns
from llama_cpp import Llama

from chatterm.chat.clean import clean
from chatterm.chat.message import Ending, Role
from chatterm.chat.sampling import Sampling
from chatterm.chat.trace import RECORD, pack_ids
from chatterm.engine.protocol import (
    BareLoop,
    BareLoopDone,
    Evaluated,
    Event,
    Failed,
    Generate,
    Pace,
    PromptMessage,
    Render,
    Rendered,
    Stop,
    Tokens,
    Tune,
    Unload,
    Unloaded,
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineDriver]:
    folder = tmp_path_factory.mktemp("engine")
    with EngineDriver(folder / "log") as driver:
        driver.load(gguf_models.write_llama(folder / "tiny.gguf"))
        yield driver


def greedy(max_tokens: int = 32, **fields: object) -> Sampling:
    return Sampling(temperature=0, max_tokens=max_tokens, **fields)  # type: ignore[arg-type]


def test_a_reply_has_its_text_its_tokens_and_its_figures(engine: EngineDriver) -> None:
    reply = engine.generate("the cat", sampling=Sampling(seed=5, max_tokens=20))
    figures = reply.finished.figures
    assert reply.finished.ending == Ending.LENGTH
    assert figures.completion_tokens == len(reply.trace) == 20
    assert figures.prompt_tokens == figures.cached_tokens + figures.evaluated_tokens
    assert figures.seed == 5
    assert figures.n_ctx == 2048
    assert figures.ttft_s > 0 < figures.decode_s
    assert figures.stop_s is None
    pieces = b"".join(reply.trace[index].piece for index in range(20))
    assert reply.text == pieces.decode("utf-8", "replace")


def test_the_pace_is_waited_for_and_left_out_of_the_figures(engine: EngineDriver) -> None:
    # A reply of this length and pace takes ten seconds, but for what is lifted after a token.
    run = engine.start("the cat", sampling=Sampling(seed=5, max_tokens=50), pace=5)
    first = engine.wait_for(lambda event: isinstance(event, Tokens))
    assert len(Reply(first).trace) == 1
    engine.send(Pace(run=run, pace=0))
    reply = Reply([*first, *engine.until_closed(run)])
    assert len(reply.trace) == 50
    assert reply.finished.figures.tokens_per_s > 5

    # What is paced is what would be written without.
    assert reply.ids == engine.generate("the cat", sampling=Sampling(seed=5, max_tokens=50)).ids


def test_a_paced_reply_stops_while_it_waits_and_tunes_the_next_token(engine: EngineDriver) -> None:
    run = engine.start("the cat", sampling=Sampling(seed=5), pace=5)
    first = engine.wait_for(lambda event: isinstance(event, Tokens))
    engine.send(Tune(run=run, version=1, sampling=greedy(50)))
    second = engine.wait_for(lambda event: isinstance(event, Tokens))
    engine.send(Stop(run=run))
    reply = Reply([*first, *second, *engine.until_closed(run)])
    assert reply.finished.ending == Ending.STOPPED
    assert [record.version for record in (reply.trace[0], reply.trace[1])] == [0, 1]
    assert len(reply.trace) == 2


def test_progress_is_told_before_the_first_token(engine: EngineDriver) -> None:
    reply = engine.generate("a new question that nobody asked", sampling=greedy(2))
    evaluated = [event for event in reply.events if isinstance(event, Evaluated)]
    assert evaluated[-1].done == evaluated[-1].total == reply.finished.figures.evaluated_tokens
    kinds = [type(event).__name__ for event in reply.events]
    assert kinds[0] == "Started"
    assert kinds.index("Evaluated") < kinds.index("Tokens")


def test_the_same_seed_and_settings_give_the_same_reply(engine: EngineDriver) -> None:
    first = engine.generate("on a mat", sampling=Sampling(seed=7, max_tokens=64))
    again = engine.generate("on a mat", sampling=Sampling(seed=7, max_tokens=64))
    other = engine.generate("on a mat", sampling=Sampling(seed=8, max_tokens=64))
    assert first.ids == again.ids
    assert first.trace.records == again.trace.records
    assert first.ids != other.ids


def test_a_random_seed_is_reported_and_gives_the_same_reply_again(engine: EngineDriver) -> None:
    first = engine.generate("home", sampling=Sampling(seed=-1, max_tokens=48))
    assert first.started
    seed = first.started.seed
    assert seed == first.finished.figures.seed >= 0
    assert engine.generate("home", sampling=Sampling(seed=seed, max_tokens=48)).ids == first.ids


def test_records_hold_probabilities_before_and_after_the_samplers(engine: EngineDriver) -> None:
    settings = Sampling(seed=3, max_tokens=64, top_k=3, top_p=1, min_p=0)
    reply = engine.generate("she said", sampling=settings, version=4)
    for index in range(len(reply.trace)):
        record = reply.trace[index]
        assert record.version == 4
        assert len(record.top) == 10
        chances = [choice.p for choice in record.top]
        assert chances == sorted(chances, reverse=True)
        assert sum(chances) <= 1.001
        assert record.rank < 3
        assert record.top[record.rank].id == record.id
        assert math.isclose(record.top[record.rank].p, record.p, rel_tol=0.01, abs_tol=1e-4)
        assert math.isclose(sum(choice.p_sampled for choice in record.top), 1, abs_tol=0.01)
        assert [choice.p_sampled > 0 for choice in record.top] == [True] * 3 + [False] * 7
        assert all(choice.piece for choice in record.top)


def test_a_token_outside_the_top_ten_has_its_rank(engine: EngineDriver) -> None:
    settings = Sampling(seed=2, max_tokens=200, temperature=5, top_k=0, top_p=1, min_p=0)
    reply = engine.generate("rain", sampling=settings)
    records = [reply.trace[index] for index in range(len(reply.trace))]
    far = [record for record in records if record.rank >= 10]
    assert far
    for record in far:
        assert record.id not in [choice.id for choice in record.top]
        assert record.p <= record.top[-1].p * 1.01


def test_ends_count_the_characters_of_the_text(engine: EngineDriver) -> None:
    reply = engine.generate("rain", sampling=Sampling(seed=11, max_tokens=100, temperature=3))
    ends = [reply.trace[index].end for index in range(len(reply.trace))]
    assert ends == sorted(ends)
    assert ends[-1] == len(reply.text)


def test_greedy_says_that_its_choice_was_certain(engine: EngineDriver) -> None:
    reply = engine.generate("and ran", sampling=greedy())
    for index in range(len(reply.trace)):
        record = reply.trace[index]
        assert record.rank == 0
        assert [choice.p_sampled for choice in record.top] == [1.0] + [0.0] * 9


def test_a_stop_string_ends_the_reply_before_it(engine: EngineDriver) -> None:
    whole = engine.generate("in the rain", sampling=greedy(60)).text
    stop = whole[20:24]
    reply = engine.generate("in the rain", sampling=greedy(60, stop=("never so", stop)))
    assert reply.finished.ending == Ending.STOP
    assert reply.text == whole[: whole.index(stop)]
    ends = [reply.trace[index].end for index in range(len(reply.trace))]
    assert max(ends) == len(reply.text)


def test_what_only_begins_a_stop_string_is_given_out_in_the_end(engine: EngineDriver) -> None:
    whole = engine.generate("in the rain", sampling=greedy(30)).text
    reply = engine.generate("in the rain", sampling=greedy(30, stop=(whole[-3:] + "\0",)))
    assert reply.text == whole
    assert reply.finished.ending == Ending.LENGTH


def test_a_tune_acts_on_a_later_token_of_the_same_reply(engine: EngineDriver) -> None:
    settings = Sampling(seed=1, max_tokens=-1)
    run = engine.start("the cat", sampling=settings, version=0)
    events = engine.wait_for(lambda event: isinstance(event, Tokens))
    engine.send(Tune(run=run, version=1, sampling=Sampling(temperature=0, max_tokens=1500)))
    reply = Reply(events + engine.until_closed(run))
    versions = [reply.trace[index].version for index in range(len(reply.trace))]
    assert versions == sorted(versions)
    assert set(versions) == {0, 1}
    assert all(reply.trace[at].rank == 0 for at, version in enumerate(versions) if version == 1)
    assert len(versions) == 1500
    assert reply.finished.ending == Ending.LENGTH


def test_fewer_tokens_than_are_written_end_the_reply_at_once(engine: EngineDriver) -> None:
    run = engine.start("the cat", sampling=Sampling(seed=1, max_tokens=-1), pace=20)
    events: list[Event] = []
    while (
        sum(len(event.records) for event in events if isinstance(event, Tokens)) < 3 * RECORD.size
    ):
        events += engine.wait_for(lambda event: isinstance(event, Tokens))
    engine.send(Tune(run=run, version=1, sampling=Sampling(seed=1, max_tokens=2)))
    reply = Reply(events + engine.until_closed(run))
    assert reply.finished.ending == Ending.LENGTH
    assert 3 <= len(reply.trace) < 100


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(seed=5, max_tokens=200, temperature=1.5, repeat_penalty=1.6, repeat_last_n=20),
        Sampling(seed=6, max_tokens=200, temperature=1.2, presence_penalty=1, frequency_penalty=1),
        Sampling(seed=7, max_tokens=200, temperature=0, repeat_penalty=1.3, repeat_last_n=-1),
    ],
    ids=["repeat", "presence", "greedy"],
)
def test_a_tune_that_changes_nothing_leaves_the_reply_as_it_is(
    engine: EngineDriver, sampling: Sampling
) -> None:
    """The random state and the penalties' history go on."""
    expected = engine.generate("she said", sampling=sampling)
    # Paced until the tune is in force, so that it falls early into the reply.
    run = engine.start("she said", sampling=sampling, pace=20)
    events: list[Event] = []
    for version in (1, 2):
        events += engine.wait_for(lambda event: isinstance(event, Tokens))
        engine.send(Tune(run=run, version=version, sampling=sampling))
    events += engine.wait_for(lambda event: isinstance(event, Tokens))
    engine.send(Pace(run=run, pace=0))
    reply = Reply(events + engine.until_closed(run))
    assert {reply.trace[at].version for at in range(len(reply.trace))} == {0, 1, 2}
    assert reply.ids == expected.ids


def test_greedy_writes_what_llama_cpp_pythons_own_loop_writes(
    engine: EngineDriver, tmp_path: Path
) -> None:
    path = gguf_models.write_llama(tmp_path / "tiny.gguf")
    # Flash attention is what llama.cpp chooses by itself; without, other last digits come out.
    other = Llama(str(path), n_ctx=2048, n_threads=1, flash_attn=True, verbose=False)
    with contextlib.closing(other):
        for question in ("the cat", "she ran home in the rain", "x"):
            rendered = engine.ask(Render, messages=turns([question]))
            assert isinstance(rendered, Rendered)
            tokens = other.generate([token.id for token in rendered.tokens], temp=0.0)
            expected = list(itertools.islice(tokens, 100))
            assert engine.generate(question, sampling=greedy(100)).ids == expected


def test_a_tune_for_a_run_that_waits_holds_from_its_first_token(engine: EngineDriver) -> None:
    first = engine.start("the cat", sampling=Sampling(seed=1, max_tokens=300))
    second = engine.start("the cat", sampling=Sampling(seed=1, max_tokens=5))
    engine.send(Tune(run=second, version=9, sampling=greedy(3)))
    engine.until_closed(first)
    reply = Reply(engine.until_closed(second))
    assert [reply.trace[index].version for index in range(len(reply.trace))] == [9, 9, 9]


def test_a_stop_ends_the_reply_and_keeps_what_was_written(engine: EngineDriver) -> None:
    run = engine.start("the cat", sampling=Sampling(seed=1, max_tokens=-1))
    events = engine.wait_for(lambda event: isinstance(event, Tokens))
    engine.send(Stop(run=run))
    reply = Reply(events + engine.until_closed(run))
    figures = reply.finished.figures
    assert reply.finished.ending == Ending.STOPPED
    assert 0 < len(reply.trace) == figures.completion_tokens
    assert figures.stop_s is not None
    assert engine.generate("the cat", sampling=greedy(3)).finished.ending == Ending.LENGTH


def test_a_stop_during_a_long_prompt_leaves_the_cache_usable(engine: EngineDriver) -> None:
    words = " ".join(gguf_models.WORDS) * 20
    expected = engine.generate(words, sampling=greedy(8)).ids
    engine.generate("something else", sampling=greedy(1))
    run = engine.start(words, sampling=greedy(-1))
    engine.send(Stop(run=run))
    stopped = Reply(engine.until_closed(run))
    assert stopped.finished.ending == Ending.STOPPED
    assert engine.generate(words, sampling=greedy(8)).ids == expected


def test_a_stop_for_a_run_that_waits_cancels_it(engine: EngineDriver) -> None:
    first = engine.start("the cat", sampling=Sampling(seed=1, max_tokens=400))
    second = engine.start("the cat", sampling=Sampling(seed=1, max_tokens=400))
    engine.send(Stop(run=second))
    assert Reply(engine.until_closed(first)).finished.ending == Ending.LENGTH
    reply = Reply(engine.until_closed(second))
    assert reply.finished.ending == Ending.STOPPED
    assert reply.events == [reply.end]
    assert reply.finished.figures.completion_tokens == 0


def test_stop_and_tune_of_a_run_that_has_ended_do_nothing(engine: EngineDriver) -> None:
    run = engine.start("the cat", sampling=greedy(2))
    engine.until_closed(run)
    engine.send(Stop(run=run))
    engine.send(Tune(run=run, version=1, sampling=Sampling()))
    assert engine.generate("the cat", sampling=greedy(2)).finished.ending == Ending.LENGTH


def test_the_next_turn_evaluates_only_what_is_new(engine: EngineDriver) -> None:
    said: list[str | Reply] = []
    for turn in range(5):
        said.append("the cat sat on a mat")
        messages = spoken(*said)
        reply = engine.generate(messages=messages, sampling=Sampling(seed=turn, max_tokens=30))
        figures = reply.finished.figures
        if turn:
            assert figures.evaluated_tokens <= 20 + 32
            assert figures.cached_tokens > 40 * turn
        said.append(reply)


def test_a_retry_evaluates_one_token_and_a_changed_reply_what_follows(
    engine: EngineDriver,
) -> None:
    engine.generate("she ran home in the rain", sampling=greedy(10))
    again = engine.generate("she ran home in the rain", sampling=greedy(10))
    assert again.finished.figures.evaluated_tokens == 1


def test_a_reply_is_continued_from_its_exact_last_token(engine: EngineDriver) -> None:
    whole = engine.generate("a mat", sampling=greedy(40))
    half = engine.generate("a mat", sampling=greedy(20))
    rest = engine.generate(messages=spoken("a mat", half), sampling=greedy(20))
    assert half.ids + rest.ids == whole.ids
    assert half.text + rest.text == whole.text
    assert rest.finished.figures.evaluated_tokens == 1
    assert [rest.trace[at].end for at in range(20)] == [whole.trace[at].end for at in range(20, 40)]


def test_a_character_that_a_stop_cut_is_completed_by_going_on(engine: EngineDriver) -> None:
    settings = Sampling(seed=4, max_tokens=400, temperature=8, top_k=0, top_p=1, min_p=0)
    whole = engine.generate("a mat", sampling=settings)
    cuts = [
        at
        for at in range(1, 400)
        if whole.trace[at - 1].end == (whole.trace[at - 2].end if at > 1 else 0)
    ]
    assert cuts, "no token that ends within a character"
    half = PromptMessage(
        role=Role.ASSISTANT,
        text=clean(whole.text[: whole.trace[cuts[0] - 1].end]),
        tokens=pack_ids(whole.ids[: cuts[0]]),
    )
    rendered = engine.ask(Render, messages=(*turns(["a mat"]), half))
    assert isinstance(rendered, Rendered)
    assert [token.id for token in rendered.tokens][-cuts[0] :] == whole.ids[: cuts[0]]


def test_a_full_context_ends_the_reply(engine: EngineDriver) -> None:
    reply = engine.generate("the cat", sampling=Sampling(seed=1, max_tokens=-1))
    assert reply.finished.ending == Ending.CONTEXT
    assert reply.finished.figures.context_tokens == 2048


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(
    engine: EngineDriver,
) -> None:
    reply = engine.generate("x" * 3000)
    assert isinstance(reply.end, Failed)
    assert reply.end.kind == "PromptError"
    assert "2048" in reply.end.title
    assert "30" in reply.end.title
    assert len(reply.events) == 1


def test_no_tokens_are_written_when_none_are_allowed(engine: EngineDriver) -> None:
    reply = engine.generate("the cat", sampling=greedy(0))
    assert reply.finished.ending == Ending.LENGTH
    assert reply.text == ""


def test_penalties_change_the_reply_and_greedy_stays_repeatable(engine: EngineDriver) -> None:
    plain = engine.generate("the cat", sampling=greedy(60))
    penalised = engine.generate("the cat", sampling=greedy(60, repeat_penalty=1.8))
    assert plain.ids != penalised.ids
    assert len(set(penalised.ids)) > len(set(plain.ids))
    again = engine.generate("the cat", sampling=greedy(60, repeat_penalty=1.8))
    assert again.ids == penalised.ids


def test_settings_that_llama_cpp_does_not_take_are_refused(engine: EngineDriver) -> None:
    reply = engine.generate("the cat", sampling=Sampling(top_p=7))
    assert isinstance(reply.end, Failed)
    assert reply.end.kind == "SettingsError"


def test_a_huge_penalty_window_is_not_allocated(engine: EngineDriver) -> None:
    settings = greedy(3, repeat_penalty=1.1, repeat_last_n=2**31 - 1)
    assert engine.generate("the cat", sampling=settings).finished.ending == Ending.LENGTH


def test_the_bare_loop_is_measured(engine: EngineDriver) -> None:
    done = engine.ask(BareLoop, n_prompt=64, n_decode=16, n_threads=1)
    assert isinstance(done, BareLoopDone)
    assert done.prefill_tps > 0 < done.decode_tps
    too_long = engine.ask(BareLoop, n_prompt=2048, n_decode=16)
    assert isinstance(too_long, Failed)


def test_a_reply_ends_with_the_models_own_end(tmp_path: Path) -> None:
    with EngineDriver(tmp_path / "log") as driver:
        driver.load(gguf_models.write_llama(tmp_path / "short.gguf", eog_bias=1.0))
        settings = Sampling(seed=1, temperature=3, top_k=0, top_p=1, min_p=0)
        reply = driver.generate("the cat", sampling=settings)
        assert reply.finished.ending == Ending.EOG
        assert "<|im_end|>" not in reply.text
        assert len(reply.trace) == reply.finished.figures.completion_tokens


def test_an_endless_reply_writes_on_past_its_end(tmp_path: Path) -> None:
    with EngineDriver(tmp_path / "log") as driver:
        driver.load(gguf_models.write_llama(tmp_path / "short.gguf", eog_bias=4.0))
        settings = Sampling(seed=1, max_tokens=60)
        assert driver.generate("the cat", sampling=settings).finished.ending == Ending.EOG
        reply = driver.generate("the cat", sampling=settings, endless=True)
        assert reply.finished.ending == Ending.LENGTH
        assert len(reply.trace) == 60
        assert "<|im_end|>" not in reply.text
        assert b"<|im_end|>" in [reply.trace[at].piece for at in range(60)]


def test_damaged_weights_are_told_and_the_engine_goes_on(tmp_path: Path) -> None:
    with EngineDriver(tmp_path / "log") as driver:
        driver.load(gguf_models.write_llama(tmp_path / "damaged.gguf", damaged=True))
        reply = driver.generate("the cat")
        assert isinstance(reply.end, Failed)
        assert reply.end.kind == "ModelError"
        assert "damaged" in reply.end.title
        assert isinstance(driver.ask(Unload), Unloaded)
        unloaded = driver.ask(Generate, messages=turns(["x"]), sampling=Sampling())
        assert isinstance(unloaded, Failed)


def test_a_context_of_learned_positions_is_never_exceeded(tmp_path: Path) -> None:
    with EngineDriver(tmp_path / "log") as driver:
        path = gguf_models.write_gpt2(tmp_path / "gpt2.gguf", n_ctx=64)
        assert driver.load(path, n_ctx=512).info.n_ctx == 64
        reply = driver.generate("the cat", sampling=Sampling(seed=1))
        assert reply.finished.ending == Ending.CONTEXT
        assert reply.finished.figures.context_tokens == 64
