"""The engine as a process: its pipe, its end, its children, and what it cannot be made to do."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gguf_models
import psutil
import pytest
from engine_driver import EngineDriver, eventually, turns

from chatterm.chat.sampling import Sampling
from chatterm.engine import protocol
from chatterm.engine.protocol import Evaluated, Failed, Generate, Load, Loaded, Started, Tokens

ENDLESS = Sampling(seed=1, max_tokens=-1)
ENDLESS_TEMPLATE = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
# The engine, in which a thread prints in every way there is.
PRINTING = """
import ctypes, os, subprocess, sys, threading, time
from chatterm.engine.__main__ import main
from chatterm.engine import worker

def print_on():
    while True:
        print("printed by print", flush=True)
        os.write(1, b"printed by fd\\n")
        subprocess.run([sys.executable, "-S", "-c", "print('printed by child')"])
        if sys.platform != "win32":
            ctypes.CDLL(None).puts(b"printed by C")
            ctypes.CDLL(None).fflush(None)

serve = worker.serve

def serve_and_print(commands, events):
    threading.Thread(target=print_on, daemon=True).start()
    serve(commands, events)

worker.serve = serve_and_print
main()
"""
HUGE_TEMPLATE = "{{ 'x' * 9000000000 }}"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineDriver]:
    with EngineDriver(tmp_path / "log") as driver:
        yield driver


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gguf_models.write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf", n_ctx=8192)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(
        process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes
    )


def hang_up(engine: EngineDriver) -> None:
    assert engine.process.stdin
    engine.process.stdin.close()


def test_it_says_hello_before_a_model_is_loaded(engine: EngineDriver) -> None:
    assert engine.hello.run == 0
    assert engine.hello.protocol == protocol.PROTOCOL
    assert engine.hello.pid == engine.process.pid
    assert engine.hello.llama_cpp


def test_it_ends_when_the_pipe_closes(engine: EngineDriver) -> None:
    hang_up(engine)
    assert engine.wait_exit(10) == 0


def test_it_ends_when_the_pipe_closes_while_it_writes(engine: EngineDriver, tiny: Path) -> None:
    engine.load(tiny)
    engine.start("the cat", sampling=ENDLESS)
    engine.wait_for(lambda event: isinstance(event, Tokens))
    hang_up(engine)
    assert engine.wait_exit(10) == 0


def test_it_ends_when_the_pipe_closes_while_it_reads_a_prompt(
    engine: EngineDriver, tiny: Path
) -> None:
    engine.load(tiny)
    engine.start("the cat " * 3000, sampling=ENDLESS)
    engine.wait_for(lambda event: isinstance(event, Started))
    hang_up(engine)
    assert engine.wait_exit(10) == 0


def test_it_ends_when_nobody_reads_its_events(tiny: Path) -> None:
    command = [sys.executable, "-m", "chatterm.engine"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        assert process.stdin
        assert process.stdout
        protocol.write(process.stdin, Load(run=1, path=tiny))
        protocol.write(
            process.stdin, Generate(run=2, messages=turns(["the cat"]), sampling=ENDLESS)
        )
        process.stdout.close()
        assert process.wait(20) != 0


def test_its_children_end_with_it(engine: EngineDriver, tiny: Path) -> None:
    engine.load(tiny)
    children = psutil.Process(engine.process.pid).children(recursive=True)
    assert children
    engine.process.kill()
    assert eventually(lambda: gone(children), 10)


def test_a_child_that_renders_for_ever_ends_with_it(engine: EngineDriver, tmp_path: Path) -> None:
    path = gguf_models.write_llama(tmp_path / "endless.gguf", template=ENDLESS_TEMPLATE)
    engine.send(Load(run=engine.new_run(), path=path))
    process = psutil.Process(engine.process.pid)
    assert eventually(lambda: bool(process.children()))
    children = process.children()
    engine.process.kill()
    assert eventually(lambda: gone(children), 10)


def test_a_template_that_never_ends_is_given_up(engine: EngineDriver, tmp_path: Path) -> None:
    path = gguf_models.write_llama(tmp_path / "endless.gguf", template=ENDLESS_TEMPLATE)
    info = engine.load(path).info
    assert "too long" in info.template_problem
    assert info.has_template
    assert engine.generate("the cat").text


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_a_template_that_eats_memory_is_given_up(engine: EngineDriver, tmp_path: Path) -> None:
    path = gguf_models.write_llama(tmp_path / "huge.gguf", template=HUGE_TEMPLATE)
    info = engine.load(path).info
    assert info.template_problem
    assert info.has_template
    assert engine.generate("the cat").text


def test_a_broken_frame_ends_it_with_a_reason(engine: EngineDriver) -> None:
    assert engine.process.stdin
    engine.process.stdin.write(b"\x03\x00\x00\x00abc")
    engine.process.stdin.flush()
    assert engine.wait_exit() == 1
    assert "pipe broke" in engine.log.read_text("utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to one process")
def test_ctrl_c_does_not_reach_it(engine: EngineDriver, tiny: Path) -> None:
    engine.process.send_signal(signal.SIGINT)
    assert isinstance(engine.load(tiny), Loaded)


def test_what_llama_cpp_prints_goes_to_the_log(engine: EngineDriver, tiny: Path) -> None:
    engine.load(tiny)
    assert "llama_model_loader" in engine.log.read_text("utf-8", "replace")


def test_what_anything_prints_in_it_goes_to_the_log(tmp_path: Path, tiny: Path) -> None:
    """Python, native code and a child process print to file descriptor 1 while it works."""
    with EngineDriver(tmp_path / "log", PRINTING) as engine:
        engine.load(tiny)
        assert engine.generate("the cat").text
    log = engine.log.read_text("utf-8", "replace")
    printed = {"print", "fd", "child"} | ({"C"} if sys.platform != "win32" else set())
    for word in printed:
        assert log.count(f"printed by {word}\n") > 1


def test_an_error_in_one_run_leaves_the_next_ones_alone(engine: EngineDriver, tiny: Path) -> None:
    failed = engine.generate("the cat")
    assert isinstance(failed.end, Failed)
    assert failed.end.kind == "ModelError"
    engine.load(tiny)
    events = engine.generate("the cat").events
    assert any(isinstance(event, Evaluated) for event in events)
