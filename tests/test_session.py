"""session: a real engine process, a real store, tiny real models."""

import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import gguf_models
import psutil
import pytest
from waiting import until

from chatterm.chat.message import Ending, Message, Role
from chatterm.chat.sampling import Sampling
from chatterm.engine.protocol import Rendered
from chatterm.errors import ChattermError, EngineError, ModelError, StoreError
from chatterm.session import Session
from chatterm.state import ModelOptions
from chatterm.store import Store

SHORT = Sampling(max_tokens=12, seed=1)
ENDLESS = Sampling(seed=1)


class Talk:
    """A session with a store in a file, and waiting for what it does."""

    def __init__(self, folder: Path, sampling: Sampling = SHORT, system: str = "") -> None:
        self.file = folder / "chatterm.db"
        self.store = Store(self.file)
        self.session = Session(self.store, folder / "engine.log", sampling, system=system)

    def load(self, model: Path, **options: float) -> None:
        self.session.load(ModelOptions(path=model, **options))  # type: ignore[arg-type]
        until(lambda: self.session.state.model)

    def slow_down(self) -> None:
        """Have replies take minutes, so that one is still being written whatever comes next."""
        self.session.tune(ENDLESS)
        self.session.set_pace(50)

    def path(self) -> tuple[Message, ...]:
        return self.session.state.tree.path()

    def last(self) -> Message:
        return self.path()[-1]

    def idle(self) -> Message:
        until(lambda: self.session.state.running is None)
        return self.last()

    def writing(self, tokens: int = 1) -> None:
        def far_enough() -> bool:
            running = self.session.state.running
            return running is not None and running.tokens >= tokens

        until(far_enough)

    def signal_engine(self, number: signal.Signals) -> int:
        """Send the engine a signal; its process."""
        pid = self.session.engine_pid
        assert pid
        os.kill(pid, number)
        return pid

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within it, another program keeps the database locked."""
        with closing(sqlite3.connect(self.file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield

    def stored(self) -> tuple[Message, ...]:
        store = Store(self.file)
        try:
            return store.load(store.conversations()[0].id)[2].path()
        finally:
            store.close()


@pytest.fixture
def talk(tmp_path: Path, chat_model: Path) -> Iterator[Talk]:
    talk = Talk(tmp_path)
    talk.load(chat_model)
    yield talk
    talk.session.close()


def test_a_question_gets_a_reply_with_records_and_figures(talk: Talk) -> None:
    talk.session.send("Hello")
    reply = talk.idle()
    assert [message.role for message in talk.path()] == [Role.USER, Role.ASSISTANT]
    assert reply.ending in (Ending.LENGTH, Ending.EOG)
    trace = talk.session.trace(reply.id)
    assert len(trace) == reply.figures.completion_tokens > 0
    assert reply.model
    assert trace[len(trace) - 1].end == len(reply.text)
    until(lambda: talk.stored() == talk.path())


def test_a_message_is_stored_before_its_reply_is_asked_for(talk: Talk) -> None:
    talk.session.send("Hello")
    assert talk.stored()[0].text == "Hello"


def test_a_running_reply_is_stored_while_it_runs(talk: Talk) -> None:
    talk.slow_down()
    talk.session.send("Hello")
    talk.writing()
    until(lambda: talk.session.state.running is None or len(talk.stored()[-1].text) > 0)
    talk.session.stop()
    talk.idle()


def test_stop_keeps_what_was_written_and_says_how_long_it_took(talk: Talk) -> None:
    talk.slow_down()
    talk.session.send("Hello")
    talk.writing(5)
    talk.session.stop()
    reply = talk.idle()
    assert reply.ending is Ending.STOPPED
    assert reply.figures.stop_s is not None
    assert reply.figures.completion_tokens >= 5
    assert reply.text
    until(lambda: talk.stored()[-1] == reply)


def test_a_stopped_reply_is_continued_from_its_last_token(talk: Talk) -> None:
    talk.session.tune(Sampling(temperature=0, max_tokens=20))
    talk.session.send("Hello")
    whole = talk.idle()
    talk.session.tune(Sampling(temperature=0, max_tokens=8))
    talk.session.retry(whole.id)
    first = talk.idle()
    talk.session.tune(Sampling(temperature=0, max_tokens=12))
    talk.session.resume(first.id)
    resumed = talk.idle()
    assert resumed.id == first.id
    assert resumed.text == whole.text
    expected = talk.session.trace(whole.id).ids()
    trace = talk.session.trace(resumed.id)
    assert trace.ids() == expected
    assert [change.token for change in resumed.changes] == [0, 8]
    assert trace[len(trace) - 1].end == len(resumed.text)


def test_a_change_of_settings_is_marked_where_it_took_effect(talk: Talk) -> None:
    talk.slow_down()
    talk.session.send("Hello")
    talk.writing(3)
    warmer = Sampling(seed=1, temperature=1.5)
    talk.session.tune(warmer)
    until(lambda: talk.last().changes[-1].token >= 0)
    talk.session.stop()
    reply = talk.idle()
    change = reply.changes[1]
    trace = talk.session.trace(reply.id)
    assert change.sampling == warmer
    assert trace[change.token].version == 1
    assert trace[change.token - 1].version == 0
    assert trace[change.token - 1].end == change.offset


def test_rephrase_and_retry_are_branches_and_lose_nothing(talk: Talk) -> None:
    talk.session.send("One")
    first = talk.idle()
    talk.session.retry(first.id)
    second = talk.idle()
    assert talk.session.state.tree.siblings(second.id) == (first.id, second.id)
    question = talk.path()[0]
    talk.session.rephrase(question.id, "Two")
    talk.idle()
    assert [m.text for m in talk.path()][:1] == ["Two"]
    talk.session.select(question.id)
    assert talk.path() == (question, second)
    talk.session.select(first.id)
    until(lambda: talk.stored() == (question, first))


def test_what_is_sent_while_a_reply_is_written_waits_its_turn(talk: Talk) -> None:
    talk.session.send("One")
    talk.session.send("Two")
    assert talk.session.state.queue == ("Two",) or len(talk.path()) > 2
    until(lambda: len(talk.path()) == 4 and talk.session.state.running is None)
    assert [message.text for message in talk.path()][::2] == ["One", "Two"]


def test_stopping_gives_back_what_was_waiting(talk: Talk) -> None:
    talk.slow_down()
    talk.session.send("One")
    talk.session.send("Two")
    talk.session.send("Three")
    talk.session.stop()
    assert talk.session.state.unsent == "Two\n\nThree"
    talk.idle()
    assert len(talk.path()) == 2


def test_what_is_sent_while_a_reply_stops_is_sent_after_it(talk: Talk) -> None:
    talk.slow_down()
    talk.session.send("One")
    talk.writing()
    talk.session.stop()
    talk.session.tune(SHORT)
    talk.session.send("Two")
    until(lambda: len(talk.path()) == 4 and talk.session.state.running is None)
    assert talk.path()[2].text == "Two"
    assert talk.session.state.unsent == ""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_the_death_of_the_engine_gives_back_what_was_waiting(talk: Talk) -> None:
    talk.slow_down()
    talk.session.send("One")
    talk.session.send("Two")
    talk.writing()
    talk.signal_engine(signal.SIGKILL)
    talk.idle()
    until(lambda: talk.session.state.unsent == "Two")
    assert talk.session.state.queue == ()
    talk.session.tune(SHORT)
    talk.session.send("Three")
    talk.idle()
    assert [message.text for message in talk.path()][::2] == ["One", "Three"]


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_reply_that_fails_gives_back_what_was_waiting(tmp_path: Path, chat_model: Path) -> None:
    talk = Talk(tmp_path)
    talk.load(chat_model, n_ctx=256)
    talk.signal_engine(signal.SIGSTOP)
    talk.session.send("word " * 2000)
    talk.session.send("Two")
    talk.signal_engine(signal.SIGCONT)
    until(lambda: talk.session.state.unsent == "Two")
    assert talk.idle().ending is Ending.FAILED
    assert talk.session.state.queue == ()
    talk.session.close()


@pytest.mark.parametrize(
    "leave",
    [
        lambda talk: talk.session.rephrase(talk.path()[0].id, "Other"),
        lambda talk: talk.session.retry(talk.last().id),
        lambda talk: talk.session.resume(talk.last().id),
        lambda talk: talk.session.load(talk.session.state.options),
        lambda talk: talk.session.new(),
    ],
    ids=["rephrase", "retry", "resume", "load", "new"],
)
def test_leaving_a_reply_gives_back_what_was_waiting(
    talk: Talk, leave: Callable[[Talk], None]
) -> None:
    talk.slow_down()
    talk.session.send("One")
    talk.session.send("Two")
    leave(talk)
    assert talk.session.state.queue == ()
    assert talk.session.take_unsent() == "Two"
    assert talk.session.state.unsent == ""


def test_what_was_not_sent_is_given_back_at_the_next_start(
    tmp_path: Path, chat_model: Path
) -> None:
    talk = Talk(tmp_path)
    talk.load(chat_model)
    talk.slow_down()
    talk.session.send("One")
    talk.session.send("Two")
    talk.session.keep_unsent("Thr")
    talk.session.close()
    again = Talk(tmp_path)
    assert again.session.state.unsent == "Two\n\nThr"
    again.session.take_unsent()
    again.session.close()
    third = Talk(tmp_path)
    assert third.session.state.unsent == ""
    third.session.close()


def test_only_what_is_new_is_evaluated(talk: Talk) -> None:
    talk.session.send("One")
    talk.idle()
    talk.session.send("Two")
    figures = talk.idle().figures
    assert figures.cached_tokens > 0
    assert figures.evaluated_tokens < figures.prompt_tokens / 2


def test_a_conversation_goes_on_in_another_session(
    talk: Talk, tmp_path: Path, chat_model: Path
) -> None:
    talk.session.send("One")
    talk.idle()
    before = talk.path()
    talk.session.close()
    again = Talk(tmp_path)
    again.load(chat_model)
    again.session.open(Store(again.file).conversations()[0].id)
    assert again.path() == before
    again.session.send("Two")
    again.idle()
    assert again.path()[:2] == before
    talk.session = again.session


def test_closing_in_the_middle_of_a_reply_keeps_it(tmp_path: Path, chat_model: Path) -> None:
    talk = Talk(tmp_path, ENDLESS)
    talk.load(chat_model)
    talk.session.send("Hello")
    talk.writing(5)
    talk.session.close()
    assert talk.stored()[-1].text == talk.last().text != ""
    assert talk.stored()[-1].ending is Ending.STOPPED


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_the_death_of_the_engine_keeps_the_reply_and_brings_the_model_back(talk: Talk) -> None:
    talk.slow_down()
    talk.session.send("Hello")
    talk.writing(5)
    talk.signal_engine(signal.SIGKILL)
    reply = talk.idle()
    assert reply.ending is Ending.FAILED
    assert reply.text
    assert "memory ran out" in reply.problem
    until(lambda: talk.session.state.model)
    talk.session.tune(SHORT)
    talk.session.resume(reply.id)
    assert talk.idle().text.startswith(reply.text)


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_model_that_ends_the_engine_twice_is_not_loaded_again_by_itself(talk: Talk) -> None:
    talk.slow_down()
    for _ in range(2):
        until(lambda: talk.session.state.model)
        talk.session.send("Hello")
        talk.writing(1)
        pid = talk.signal_engine(signal.SIGABRT)
        talk.idle()
        until(lambda pid=pid: talk.session.engine_pid not in (None, pid))  # type: ignore[misc]
    until(lambda: "No model is loaded" in talk.session.state.problem)
    assert talk.session.state.model is None
    assert talk.session.state.loading is None


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize(
    "ask",
    [
        lambda talk: talk.session.rephrase(talk.path()[0].id, "Other"),
        lambda talk: talk.session.retry(talk.last().id),
        lambda talk: talk.session.resume(talk.last().id),
    ],
    ids=["rephrase", "retry", "resume"],
)
def test_a_hung_engine_is_replaced_and_the_next_one_writes_what_was_asked_meanwhile(
    talk: Talk, ask: Callable[[Talk], None]
) -> None:
    talk.slow_down()
    talk.session.send("Hello")
    talk.writing(5)
    hung = talk.signal_engine(signal.SIGSTOP)
    talk.session.tune(SHORT)
    ask(talk)
    asked = talk.last()
    assert "did not answer" in until(lambda: talk.session.state.problem)
    until(lambda: talk.session.engine_pid not in (None, hung))
    reply = talk.idle()
    assert reply.id == asked.id
    assert len(reply.text) > len(asked.text)
    assert reply.ending is Ending.LENGTH


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize(
    "leave",
    [
        lambda talk: talk.session.load(talk.session.state.options),
        lambda talk: talk.session.new(),
    ],
    ids=["load", "new"],
)
def test_a_hung_engine_is_replaced_when_its_reply_is_left(
    talk: Talk, leave: Callable[[Talk], None]
) -> None:
    talk.slow_down()
    talk.session.send("Hello")
    talk.writing(5)
    hung = talk.signal_engine(signal.SIGSTOP)
    leave(talk)
    until(lambda: talk.session.engine_pid not in (None, hung))
    until(lambda: talk.session.state.model)
    talk.session.tune(SHORT)
    talk.session.send("Again")
    assert talk.idle().ending is Ending.LENGTH


def test_a_model_that_is_loaded_in_place_of_one_that_is_loading_is_the_one(
    talk: Talk, tmp_path: Path, base_model: Path
) -> None:
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    slow = gguf_models.write_llama(tmp_path / "slow.gguf", template=endless)
    talk.session.load(ModelOptions(path=slow))
    talk.load(base_model)
    assert talk.session.state.model
    assert talk.session.state.model.path == base_model
    talk.session.send("Hello")
    assert talk.idle().ending is Ending.LENGTH


def test_a_model_whose_name_is_no_text_is_loaded_and_remembered(
    talk: Talk, tmp_path: Path, chat_model: Path
) -> None:
    path = tmp_path / os.fsdecode(b"lat\xe9n.gguf")
    try:
        shutil.copy(chat_model, path)
    except OSError:
        pytest.skip("the file system takes only names that are text")
    talk.load(path)
    talk.session.send("Hello")
    assert talk.idle().ending is Ending.LENGTH
    until(lambda: talk.store.recall("model") == str(path))


def test_a_number_too_large_for_the_engine_is_said_and_changes_nothing(talk: Talk) -> None:
    pid = talk.session.engine_pid
    model = talk.session.state.model
    with pytest.raises(EngineError, match="too large"):
        talk.session.load(ModelOptions(path=talk.file, n_ctx=99999999999999999999))
    assert talk.session.state.loading is None
    assert talk.session.state.model == model
    talk.session.send("Hello")
    assert talk.idle().ending is Ending.LENGTH
    assert talk.session.engine_pid == pid


def test_a_database_that_is_locked_holds_up_neither_the_reply_nor_who_steers_it(
    talk: Talk,
) -> None:
    talk.store.patience = 3600
    talk.slow_down()
    talk.session.send("Hello")
    talk.writing()
    with talk.locked():

        def steer() -> None:
            talk.session.tune(Sampling(seed=1, temperature=1.5))
            talk.session.set_pace(100)
            talk.session.stop()
            talk.idle()
            talk.session.tune(SHORT)
            talk.session.new()

        steering = threading.Thread(target=steer, daemon=True)
        steering.start()
        until(lambda: not steering.is_alive())
        assert talk.session.state.conversation is None
    until(lambda: talk.stored()[-1].ending is Ending.STOPPED)


def test_a_message_that_cannot_be_stored_is_not_sent_and_leaves_nothing_behind(
    talk: Talk,
) -> None:
    talk.store.patience = 0.05
    with talk.locked(), pytest.raises(StoreError, match=r"locked.*Nothing was sent"):
        talk.session.send("Hello")
    assert talk.session.state.running is None
    assert talk.path() == ()
    assert talk.store.conversations() == []
    talk.session.send("Hello")
    talk.idle()
    with talk.locked(), pytest.raises(StoreError, match="Nothing was sent"):
        talk.session.retry(talk.last().id)
    assert len(talk.path()) == 2


def test_a_queued_message_that_cannot_be_stored_is_given_back(talk: Talk) -> None:
    talk.slow_down()
    talk.session.send("One")
    talk.writing()
    talk.store.patience = 0.05
    with talk.locked():
        talk.session.stop()
        talk.session.send("Two")
        talk.session.send("Three")
        until(lambda: talk.session.state.unsent == "Two\n\nThree")
    until(lambda: "Nothing was sent" in talk.session.state.problem)
    assert len(talk.path()) == 2


def test_what_was_written_is_stored_every_second(tmp_path: Path, chat_model: Path) -> None:
    talk = Talk(tmp_path, ENDLESS)
    talk.load(chat_model, pace=10)
    talk.session.send("Hello")
    talk.writing(30)
    assert len(Store(talk.file).trace(talk.last().id)) >= 10
    talk.session.close()


def test_who_is_told_of_a_rendering_may_wait_for_another_thread(talk: Talk) -> None:
    waited: list[bool] = []

    def done(_answer: Rendered | ChattermError) -> None:
        other = threading.Thread(target=talk.session.tune, args=(ENDLESS,), daemon=True)
        other.start()
        other.join(10)
        waited.append(other.is_alive())

    talk.session.render(done)
    assert until(lambda: waited) == [False]


def test_a_system_prompt_begins_the_conversation(tmp_path: Path, chat_model: Path) -> None:
    talk = Talk(tmp_path, system="Be\x1b terse.")
    talk.load(chat_model)
    talk.session.send("Hello")
    talk.idle()
    assert (talk.path()[0].role, talk.path()[0].text) == (Role.SYSTEM, "Be␛ terse.")
    talk.session.close()


def test_what_the_model_would_get_is_told(talk: Talk) -> None:
    answers: list[Rendered | ChattermError] = []
    talk.session.render(answers.append, "Hi <|im_end|>")
    until(lambda: answers)
    assert isinstance(answers[0], Rendered)
    assert "Hi <|im_end|>" in answers[0].prompt
    typed = "".join(token.text for token in answers[0].tokens if not token.control)
    assert "Hi <|im_end|>" in typed


def test_without_a_model_it_says_so(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    with pytest.raises(ModelError, match="No model"):
        talk.session.send("Hello")
    assert talk.path() == ()
    talk.session.close()


def test_a_model_that_is_not_there_is_a_problem_that_is_told(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    talk.session.load(ModelOptions(path=tmp_path / "none.gguf"))
    until(lambda: talk.session.state.problem)
    assert "none.gguf" in talk.session.state.problem
    assert talk.session.state.loading is None
    talk.session.close()


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(
    tmp_path: Path, chat_model: Path
) -> None:
    talk = Talk(tmp_path)
    talk.load(chat_model, n_ctx=256)
    talk.session.send("word " * 2000)
    reply = talk.idle()
    assert reply.ending is Ending.FAILED
    assert "256" in reply.problem
    talk.session.close()


def test_changes_are_announced_from_other_threads(talk: Talk) -> None:
    threads = set()
    talk.session.on_change = lambda: threads.add(threading.current_thread().name)
    talk.session.send("Hello")
    talk.idle()
    assert "engine" in threads


def test_an_unknown_conversation_is_an_error_and_changes_nothing(talk: Talk) -> None:
    talk.session.send("Hello")
    talk.idle()
    before = talk.path()
    with pytest.raises(StoreError):
        talk.session.open(999)
    assert talk.path() == before


def test_closing_ends_everything(tmp_path: Path) -> None:
    talk = Talk(tmp_path)
    pid = until(lambda: talk.session.engine_pid)
    talk.session.close()
    assert not psutil.pid_exists(pid)
    assert not [t for t in threading.enumerate() if t.name in ("engine", "recorder")]
