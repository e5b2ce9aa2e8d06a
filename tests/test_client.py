"""client: a real engine process, killed, stopped, orphaned."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gguf_models
import psutil
import pytest
from engine_driver import turns
from waiting import until

from chatterm import client
from chatterm.chat.message import Ending
from chatterm.chat.sampling import Sampling
from chatterm.client import Client, Died
from chatterm.engine.protocol import Event, Failed, Finished, Generate, Hello, Load, Loaded
from chatterm.errors import EngineError


class Heard:
    """A client and the events it told."""

    def __init__(self, log: Path) -> None:
        self.events: list[Event | Died] = []
        self.client = Client(log, self.events.append)

    def nth(self, kind: type[Event | Died], count: int = 1) -> Event | Died:
        """The event `kind` that is the `count`-th of its kind, waited for."""
        found = until(lambda: [e for e in list(self.events) if isinstance(e, kind)][count - 1 :])
        return found[0]


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    heard = Heard(tmp_path / "logs" / "engine.log")
    yield heard
    heard.client.close()


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_an_engine_greets_and_answers(heard: Heard) -> None:
    hello = heard.nth(Hello)
    assert isinstance(hello, Hello)
    assert hello.pid == heard.client.pid
    heard.client.send(Load(run=heard.client.next_run(), path=Path("/no/such/model.gguf")))
    failed = heard.nth(Failed)
    assert isinstance(failed, Failed)
    assert failed.kind == "ModelError"


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "memory ran out"), (signal.SIGSEGV, "crashed")]
)
def test_a_death_is_told_in_plain_words_and_followed_by_a_new_engine(
    heard: Heard, number: signal.Signals, words: str
) -> None:
    hello = heard.nth(Hello)
    assert isinstance(hello, Hello)
    os.kill(hello.pid, number)
    died = heard.nth(Died)
    assert isinstance(died, Died)
    assert words in died.title
    assert not died.asked
    second = heard.nth(Hello, 2)
    assert isinstance(second, Hello)
    assert second.pid != hello.pid


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_an_engine_that_does_not_answer_stop_is_ended_and_replaced(heard: Heard) -> None:
    hello = heard.nth(Hello)
    assert isinstance(hello, Hello)
    os.kill(hello.pid, signal.SIGSTOP)
    run = heard.client.next_run()
    heard.client.send(Load(run=run, path=Path("/no/such/model.gguf")))
    heard.client.stop(run)
    died = heard.nth(Died)
    assert isinstance(died, Died)
    assert died.asked
    heard.nth(Hello, 2)


def test_a_stopped_run_that_waits_behind_another_is_no_reason_to_end_the_engine(
    heard: Heard, tmp_path: Path
) -> None:
    # Its template is tried twice, and given up each time, which takes longer than a stop may.
    endless = "{% for a in range(99999) %}{% for tools in range(99999) %}{% endfor %}{% endfor %}"
    model = gguf_models.write_llama(tmp_path / "slow.gguf", template=endless)
    load, reply = heard.client.next_run(), heard.client.next_run()
    heard.client.send(Load(run=load, path=model))
    heard.client.send(Generate(run=reply, messages=turns(["Hello"]), sampling=Sampling()))
    heard.client.stop(reply)
    finished = heard.nth(Finished)
    assert isinstance(finished, Finished)
    assert (finished.run, finished.ending) == (reply, Ending.STOPPED)
    assert isinstance(heard.nth(Loaded), Loaded)
    assert not [event for event in heard.events if isinstance(event, Died)]


def test_a_command_that_cannot_be_sent_is_an_error_and_the_engine_lives_on(heard: Heard) -> None:
    hello = heard.nth(Hello)
    assert isinstance(hello, Hello)
    run = heard.client.next_run()
    with pytest.raises(EngineError, match="number in the settings is too large"):
        heard.client.send(Load(run=run, path=Path("x"), n_ctx=99999999999999999999))
    heard.client.send(Load(run=run, path=Path("/no/such/model.gguf")))
    heard.nth(Failed)
    assert heard.client.pid == hello.pid


def test_closing_ends_the_engine(tmp_path: Path) -> None:
    heard = Heard(tmp_path / "engine.log")
    hello = heard.nth(Hello)
    assert isinstance(hello, Hello)
    heard.client.close()
    assert gone(hello.pid)
    assert not [event for event in heard.events if isinstance(event, Died)]


def test_no_engine_outlives_its_program(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from chatterm.client import Client\n"
        "from chatterm.engine.protocol import Hello\n"
        "Client(Path(sys.argv[1]), lambda e: isinstance(e, Hello) and print(e.pid, flush=True))\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "engine.log")], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        engine = int(parent.stdout.readline())
        parent.kill()
        until(lambda: gone(engine), timeout=2)


def test_an_engine_that_cannot_start_is_told_once_and_not_tried_without_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ENGINE", [str(tmp_path / "no-python")])
    heard = Heard(tmp_path / "engine.log")
    died = heard.nth(Died)
    assert isinstance(died, Died)
    assert "cannot be started" in died.title
    heard.client.send(Load(run=1, path=Path("x")))
    heard.nth(Died, 2)
    heard.client.close()
    assert len(heard.events) <= 3


def test_a_log_is_rotated_when_it_has_grown(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_bytes(b"x" * (client.LOG_LIMIT + 1))
    Heard(log).client.close()
    assert (tmp_path / "engine.log.1").stat().st_size == client.LOG_LIMIT + 1
    assert log.stat().st_size < client.LOG_LIMIT


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_log_that_grows_in_one_session_is_rotated_and_the_last_words_are_found(
    heard: Heard, tmp_path: Path
) -> None:
    hello = heard.nth(Hello)
    assert isinstance(hello, Hello)
    log = tmp_path / "logs" / "engine.log"
    with log.open("ab") as file:
        file.write(b"x" * (client.LOG_LIMIT + 1))
    heard.client.send(Load(run=heard.client.next_run(), path=Path("/no/such/model.gguf")))
    heard.nth(Failed)
    until(lambda: log.stat().st_size < client.LOG_LIMIT)
    assert log.with_name("engine.log.1").stat().st_size >= client.LOG_LIMIT
    with log.open("ab") as file:
        file.write(b"/src/ggml.c:12: GGML_ASSERT(n < max) failed\n")
    os.kill(hello.pid, signal.SIGABRT)
    died = heard.nth(Died)
    assert isinstance(died, Died)
    assert "GGML_ASSERT(n < max)" in died.advice


def test_the_assertion_that_ended_an_engine_is_found_in_its_log(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text("GGML_ASSERT(old) failed\n")
    start = log.stat().st_size
    with log.open("a") as file:
        file.write("loading\n/src/ggml/ggml.c:12: GGML_ASSERT(n < \x1b[31m max) failed\nbye\n")
    assert client.last_words(log, start) == "ggml.c:12: GGML_ASSERT(n < ␛[31m max) failed"
    assert client.last_words(log, log.stat().st_size) == ""
    # Another program has begun it anew.
    assert client.last_words(log, log.stat().st_size + 1) != ""
