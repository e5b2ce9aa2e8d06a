"""What is kept of the KV cache, what is read again and told, and what a stop leaves in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import gguf_models
import pytest
from engine_driver import EngineDriver, Reply, spoken

from chatterm.chat.message import Ending
from chatterm.chat.sampling import Sampling
from chatterm.engine import model as models
from chatterm.engine.cache import Cache, Stopped
from chatterm.engine.model import Model
from chatterm.engine.native import StopFlag
from chatterm.engine.protocol import Load, Started, Stop

WINDOW = 16
GREEDY = Sampling(temperature=0, max_tokens=48)
LONG = "the cat sat on a mat and ran home in the rain " * 8
# As many models of today, it begins a reply with a thought that it leaves out of earlier ones.
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}"
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineDriver]:
    with EngineDriver(tmp_path / "log") as driver:
        yield driver


def write_gemma(path: Path) -> Path:
    return gguf_models.write_gemma(path, window=WINDOW)


def notice(reply: Reply) -> str:
    assert reply.started
    return reply.started.notice


def from_nothing(engine: EngineDriver, path: Path, *said: str | Reply) -> list[int]:
    """The reply's tokens when nothing is cached."""
    engine.load(path)
    reply = engine.generate(messages=spoken(*said), sampling=GREEDY)
    assert reply.finished.figures.cached_tokens == 0
    return reply.ids


def test_a_recurrent_model_reads_all_again_and_says_so(
    engine: EngineDriver, tmp_path: Path
) -> None:
    path = gguf_models.write_mamba(tmp_path / "mamba.gguf")
    assert not engine.load(path).info.can_cut
    first = engine.generate(LONG, sampling=GREEDY)
    assert not notice(first)

    other = engine.generate(LONG + "she said", sampling=GREEDY)
    assert "read again" in notice(other)
    assert other.finished.figures.cached_tokens == 0
    assert other.ids == from_nothing(engine, path, LONG + "she said")


def test_a_recurrent_model_goes_on_from_its_state(engine: EngineDriver, tmp_path: Path) -> None:
    path = gguf_models.write_mamba(tmp_path / "mamba.gguf")
    engine.load(path)
    first = engine.generate("the cat", sampling=GREEDY)
    second = engine.generate(messages=spoken("the cat", first, "and"), sampling=GREEDY)
    figures = second.finished.figures
    assert not notice(second)
    # The last token of a reply of full length was sampled, and not evaluated.
    assert figures.cached_tokens == figures.prompt_tokens - figures.evaluated_tokens
    assert figures.cached_tokens >= 48
    assert second.ids == from_nothing(engine, path, "the cat", first, "and")


def test_a_recurrent_model_forgets_a_prompt_that_a_stop_cut(
    engine: EngineDriver, tmp_path: Path
) -> None:
    path = gguf_models.write_mamba(tmp_path / "mamba.gguf")
    engine.load(path)
    run = engine.start(LONG * 3, sampling=GREEDY)
    started = engine.wait_for(lambda event: isinstance(event, Started))
    engine.send(Stop(run=run))
    stopped = Reply(started + engine.until_closed(run))
    assert stopped.finished.ending in (Ending.STOPPED, Ending.LENGTH)
    after = engine.generate(LONG * 3, sampling=GREEDY)
    assert after.ids == from_nothing(engine, path, LONG * 3)


def test_a_cache_with_a_sliding_window_is_cut_far_before_the_window(
    engine: EngineDriver, tmp_path: Path
) -> None:
    path = write_gemma(tmp_path / "gemma.gguf")
    assert engine.load(path).info.can_cut
    first = engine.generate(LONG, sampling=GREEDY)
    assert first.finished.figures.prompt_tokens > 5 * WINDOW

    changed = LONG[: len(LONG) // 2] + "she said"
    other = engine.generate(changed, sampling=GREEDY)
    assert not notice(other)
    assert other.finished.figures.cached_tokens > 2 * WINDOW
    assert other.ids == from_nothing(engine, path, changed)

    again = engine.generate(changed, sampling=GREEDY)
    assert again.finished.figures.evaluated_tokens == 1
    assert again.ids == other.ids


def test_that_a_template_rewrites_replies_is_told_once(
    engine: EngineDriver, tmp_path: Path
) -> None:
    path = gguf_models.write_llama(tmp_path / "thinking.gguf", template=THINKING)
    engine.load(path)
    said: list[str | Reply] = []
    notices = []
    for _ in range(4):
        said.append("the cat")
        reply = engine.generate(messages=spoken(*said), sampling=GREEDY)
        notices.append((notice(reply), reply.finished.figures.evaluated_tokens))
        said.append(reply)
    (none, _), (told, evaluated), *later = notices
    assert not none
    # All that was evaluated, but for the end of the reply's turn and the new question's turn.
    first, new = notices[0][1], len("<>\n<>user\n")
    read_again = int("".join(filter(str.isdigit, told)))
    assert told == (
        f"This model's template rewrites earlier replies, so {read_again} tokens are read again."
    )
    assert 48 <= read_again <= 48 + 1
    assert evaluated - read_again <= first + new
    assert all(not said_later for said_later, _ in later)

    # Another load is another model, for all that is known.
    engine.load(path)
    engine.generate(messages=spoken("the cat"), sampling=GREEDY)
    first_reply = said[1]
    engine.generate(messages=spoken("the cat", first_reply), sampling=Sampling(max_tokens=0))
    again = engine.generate(messages=spoken("the cat", first_reply, "and"), sampling=GREEDY)
    assert notice(again) == told


def test_going_back_is_not_told_as_rewriting(engine: EngineDriver, tmp_path: Path) -> None:
    engine.load(gguf_models.write_llama(tmp_path / "thinking.gguf", template=THINKING))
    first = engine.generate("the cat", sampling=GREEDY)
    other = engine.generate(LONG, sampling=GREEDY)
    assert other.finished.figures.evaluated_tokens > 100
    back = engine.generate(messages=spoken("the cat", first, LONG), sampling=GREEDY)
    assert [notice(first), notice(other), notice(back)] == ["", "", ""]


def test_a_template_that_repeats_replies_is_not_told_of(
    engine: EngineDriver, tmp_path: Path
) -> None:
    engine.load(gguf_models.write_llama(tmp_path / "chatml.gguf"))
    said: list[str | Reply] = []
    for _ in range(3):
        said.append(LONG)
        said.append(engine.generate(messages=spoken(*said), sampling=GREEDY))
    assert not any(notice(reply) for reply in said if isinstance(reply, Reply))


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[[Callable[[Path], Path]], Model]]:
    """Loads models in this process."""
    loaded: list[Model] = []

    def load_here(write: Callable[[Path], Path]) -> Model:
        command = Load(run=1, path=write(tmp_path / "model.gguf"), n_threads=1)
        loaded.append(models.load(command, StopFlag(), lambda _f: None, repack=True))
        return loaded[-1]

    yield load_here
    for model in loaded:
        model.free()


class LateStop(StopFlag):
    """Is set as soon as Python has looked at it, so that only the decode itself can notice."""

    def __bool__(self) -> bool:
        was_set = super().__bool__()
        self.set()
        return was_set


@pytest.mark.parametrize(
    "write",
    [gguf_models.write_llama, gguf_models.write_mamba, write_gemma],
    ids=["llama", "mamba", "gemma"],
)
def test_a_stop_reaches_into_a_batch(
    load: Callable[[Callable[[Path], Path]], Model], write: Callable[[Path], Path]
) -> None:
    model = load(write)
    cache, stop, done = Cache(model), LateStop(), list[int]()
    prompt = [token % 200 for token in range(400)]
    assert len(prompt) < models.BATCH_CPU
    model.watch(stop)
    with pytest.raises(Stopped):
        cache.evaluate(prompt, stop, done.append)
    assert done == []
    assert cache.tokens == []

    model.watch(StopFlag())
    cache.evaluate(prompt, StopFlag(), done.append)
    assert done == [399, 400]
    assert cache.tokens == prompt
    model.watch(stop)
    with pytest.raises(Stopped):
        cache.decode(7)
