"""The engine's two threads: one reads commands, one works on them, a run at a time.

Invariants: every run ends with exactly one closing event; a Stop or Tune reaches its run at once,
also while llama.cpp is at work; when the pipe closes, whichever thread notices ends the process.
"""

from __future__ import annotations

import os
import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import BinaryIO, NoReturn

import llama_cpp
import msgspec

from chatterm.chat.message import Ending, Figures
from chatterm.engine import bare, native, protocol
from chatterm.engine import model as models
from chatterm.engine.cache import Cache, Stopped
from chatterm.engine.decode import Writer
from chatterm.engine.kernels import KernelCheck
from chatterm.engine.model import Cancelled, Model
from chatterm.engine.notices import Notices
from chatterm.engine.prompt import Prompter
from chatterm.engine.protocol import (
    BareLoop,
    Command,
    Event,
    Failed,
    Finished,
    Generate,
    Hello,
    Load,
    Loaded,
    LoadProgress,
    Pace,
    Render,
    Stop,
    Tune,
    Unload,
    Unloaded,
)
from chatterm.engine.renderer import TemplateProcess
from chatterm.engine.run import Run
from chatterm.errors import ChattermError, EngineError, ModelError

_Work = Load | Unload | Generate | Render | BareLoop


class Pipe:
    """The commands that arrive and the events that leave, each on a thread of its own.

    A client that is slow to read must not hold up a decode, so events wait in a queue.
    """

    def __init__(self, commands: BinaryIO, events: BinaryIO) -> None:
        self._commands = commands
        self._events = events
        self._outbox: queue.SimpleQueue[Event | Callable[[], Event | None]] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[tuple[_Work, Run]] = queue.SimpleQueue()
        self._runs: dict[int, Run] = {}
        for target in (self._read, self._write):
            threading.Thread(target=target, daemon=True).start()

    def send(self, event: Event | Callable[[], Event | None]) -> None:
        """Send an event, after those before it, or what it makes when its turn comes."""
        self._outbox.put(event)

    def drain(self) -> None:
        """Wait until everything was made and sent."""
        done = threading.Event()
        self._outbox.put(done.set)
        done.wait()

    def next(self) -> tuple[_Work, Run]:
        """The next command to work on, with its run. Waits for one."""
        return self._inbox.get()

    def close_run(self, run: Run, event: Event) -> None:
        """Send a run's closing event; from now on nothing can stop or tune it."""
        self._runs.pop(run.number, None)
        self.send(event)

    def _read(self) -> None:
        try:
            while (command := protocol.read_command(self._commands)) is not None:
                self._take(command)
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            _exit(f"The engine's pipe broke: {error}")
        _exit()

    def _take(self, command: Command) -> None:
        run = self._runs.get(command.run)
        match command:
            case Stop():
                if run:
                    run.request_stop()
            case Tune():
                if run:
                    run.tune = command
            case Pace():
                if run:
                    run.set_pace(command.pace)
            case _:
                run = self._runs[command.run] = Run(command.run)
                if isinstance(command, Generate):
                    run.set_pace(command.pace)
                self._inbox.put((command, run))

    def _write(self) -> None:
        try:
            while True:
                item = self._outbox.get()
                event = item() if callable(item) else item
                if event is not None:
                    protocol.write(self._events, event)
        except (OSError, ValueError) as error:
            _exit(f"The engine's pipe broke: {error}")
        except Exception:  # noqa: BLE001 - without this thread, the engine is of no use
            _exit(traceback.format_exc())


class Worker:
    """Holds the loaded model, and works on one command after the other."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._model: Model | None = None
        self._cache: Cache | None = None
        self._prompter: Prompter | None = None
        self._notices = Notices()
        self._templates = TemplateProcess()
        self._kernels = KernelCheck()

    def work(self) -> NoReturn:
        """Work until the process ends."""
        version = llama_cpp.__version__
        self._pipe.send(
            Hello(run=0, protocol=protocol.PROTOCOL, pid=os.getpid(), llama_cpp=version)
        )
        while True:
            command, run = self._pipe.next()
            self._pipe.close_run(run, self._answer(command, run))

    def _answer(self, command: _Work, run: Run) -> Event:
        """Do what the command says; what it comes to is the run's closing event."""
        try:
            if run.stop:
                return _stopped(command, run)
            return self._do(command, run)
        except (Cancelled, Stopped):
            return _stopped(command, run)
        except ChattermError as error:
            return _failed(run, error)
        except Exception as error:  # noqa: BLE001 - the engine lives on; the log has the rest
            traceback.print_exc()
            title = f"The engine met an error that it does not know: {type(error).__name__}."
            return _failed(run, EngineError(title, "The log has the details."))

    def _do(self, command: _Work, run: Run) -> Event:
        match command:
            case Load():
                return self._load(command, run)
            case Unload():
                self._unload()
                return Unloaded(run=run.number)
            case Generate():
                return self._generate(command, run)
            case Render():
                model, _, prompter = self._loaded()
                return prompter.rendered(run.number, command.messages, raw=command.raw)
            case BareLoop():
                model, cache, _ = self._loaded()
                return bare.measure(model, cache, run, command)

    def _loaded(self) -> tuple[Model, Cache, Prompter]:
        if not (self._model and self._cache and self._prompter):
            raise ModelError("No model is loaded.", "Choose one.")
        return self._model, self._cache, self._prompter

    def _load(self, command: Load, run: Run) -> Event:
        self._unload()
        percent = -1

        def progress(fraction: float) -> None:
            nonlocal percent
            if int(fraction * 100) > percent:
                percent = int(fraction * 100)
                self._pipe.send(LoadProgress(run=run.number, fraction=fraction))

        self._templates.start()
        model = models.load(command, run.stop, progress, repack=self._kernels.repack_works)
        try:
            prompter = Prompter(model, self._templates)
            # A template may have taken its time.
            if run.stop:
                raise Cancelled
        except BaseException:
            model.free()
            raise
        self._model, self._cache, self._prompter = model, Cache(model), prompter
        self._notices = Notices()
        info = models.describe(
            model,
            command,
            has_template=prompter.has_template,
            template_problem=prompter.template_problem,
        )
        return Loaded(run=run.number, info=info, load_s=time.perf_counter() - run.received)

    def _unload(self) -> None:
        model, self._model, self._cache, self._prompter = self._model, None, None, None
        if model:
            # Events that are still to be made ask its vocabulary.
            self._pipe.drain()
            model.free()

    def _generate(self, command: Generate, run: Run) -> Event:
        model, cache, prompter = self._loaded()
        writer = Writer(model, cache, self._notices, run, self._pipe.send, command)
        model.set_threads(command.n_threads)
        return writer.write(prompter.prompt(command.messages, raw=command.raw))


def _stopped(command: _Work, run: Run) -> Event:
    if isinstance(command, Generate):
        return Finished(run=run.number, ending=Ending.STOPPED, figures=Figures(stop_s=run.stop_s))
    return _failed(run, EngineError("Stopped."))


def _failed(run: Run, error: ChattermError) -> Failed:
    return Failed(run=run.number, kind=type(error).__name__, title=error.title, advice=error.advice)


def _exit(reason: str = "") -> NoReturn:
    """End the process at once, also in the middle of a decode: nobody is listening."""
    if reason:
        os.write(2, f"{reason}\n".encode())
    os._exit(1 if reason else 0)


def serve(commands: BinaryIO, events: BinaryIO) -> NoReturn:
    """Be the engine, over these two pipes."""
    native.log_to_stderr()
    Worker(Pipe(commands, events)).work()
