"""The whole program in a real pseudo-terminal, with a real model in a real engine process."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gguf_models
import psutil
import pytest

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX's", allow_module_level=True)

from in_pty import Program
from waiting import until

CHATTERM = [sys.executable, "-m", "chatterm"]
UP, ESCAPE, ALT_UP, CTRL_C, CTRL_R = "\x1b[A", "\x1b", "\x1b[1;3A", "\x03", "\x12"
CTRL_G, CTRL_P, CTRL_HOME, CTRL_END = "\x07", "\x10", "\x1b[1;5H", "\x1b[1;5F"
LEFT, PAGE_DOWN = "\x1b[D", "\x1b[6~"
CTRL_Q = "\x11"
ENDLESS_TEMPLATE = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.fixture
def program(chat_model: Path) -> Iterator[Program]:
    with Program([*CHATTERM, "-m", str(chat_model), "--seed", "1"]) as program:
        program.wait_for("Ask anything")
        until(lambda: rows(program, "SELECT value FROM remembered"))
        yield program


def rows(program: Program, query: str) -> list[tuple[object, ...]]:
    """What a query finds in the running program's database."""
    try:
        with sqlite3.connect(f"file:{program.folder}/chatterm.db?mode=ro", uri=True) as db:
            return db.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


def endings(program: Program) -> list[object]:
    found = rows(program, "SELECT ending FROM messages WHERE role = 'assistant' ORDER BY id")
    return [ending for (ending,) in found]


def written(program: Program) -> int:
    query = "SELECT coalesce(sum(length(text)), 0) FROM messages WHERE role = 'assistant'"
    found = rows(program, query)
    return int(str(found[0][0])) if found else 0


def children(program: Program, module: str) -> list[psutil.Process]:
    """The running program's processes that run a module."""
    found = psutil.Process(program.pid).children(recursive=True)
    return [child for child in found if alive(child) and module in child.cmdline()]


def engines(program: Program) -> list[psutil.Process]:
    return children(program, "chatterm.engine")


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop(program: Program, replies: int = 1) -> None:
    until(lambda: written(program) > 0)
    program.type(ESCAPE)
    until(lambda: endings(program)[replies - 1 :] == ["stopped"])


def test_a_slider_moves_and_a_stop_keeps_while_it_writes(program: Program) -> None:
    program.type("Hello\r")
    until(lambda: written(program) > 0)
    program.type(ALT_UP)
    program.wait_for("0.85")
    stop(program)
    program.wait_for("stopped")
    (changes,) = rows(program, "SELECT changes FROM messages WHERE role = 'assistant'")
    assert '"temperature":0.85' in str(changes[0])


def test_the_stop_button_can_be_clicked(program: Program) -> None:
    program.type("Hello\r")
    until(lambda: written(program) > 0)
    program.click(4, 37)
    until(lambda: endings(program) == ["stopped"])


def test_rephrasing_makes_a_branch_and_keeps_the_old_one(program: Program) -> None:
    program.type("First question\r")
    stop(program)
    program.wait_for("rephrase")
    program.type(ESCAPE)
    program.wait_for("ask as a new branch")
    program.type("!\r")
    until(lambda: len(endings(program)) == 2)
    stop(program, replies=2)
    program.wait_for("‹2/2›")
    program.type(LEFT)
    program.wait_for("‹1/2›")
    asked = rows(program, "SELECT text, parent FROM messages WHERE role = 'user' ORDER BY id")
    assert asked == [("First question", None), ("First question!", None)]


def test_rephrasing_gives_the_draft_back(program: Program) -> None:
    program.type("First question\r")
    stop(program)
    program.type("a draft")
    program.wait_for("draft")
    program.type(ESCAPE)
    program.wait_for("ask as a new branch")
    program.type("!\r")
    until(lambda: len(endings(program)) == 2)
    stop(program, replies=2)
    program.type("\r")
    until(lambda: len(endings(program)) == 3)
    asked = rows(program, "SELECT text FROM messages WHERE role = 'user' ORDER BY id")
    assert asked == [("First question",), ("First question!",), ("a draft",)]


def test_what_was_sent_is_there_again_after_the_next_start(
    program: Program, chat_model: Path
) -> None:
    program.type("An earlier question\r")
    stop(program)
    program.type("/exit\r")
    assert program.ended() == 0
    with Program([*CHATTERM, "-m", str(chat_model)], folder=program.folder) as again:
        again.wait_for("Ask anything")
        again.type(UP)
        again.wait_for("An earlier question")


def test_the_palette_and_a_slash_offer_the_commands(program: Program) -> None:
    program.type(CTRL_P)
    program.wait_for("/model [FILE]")
    program.type(ESCAPE)
    program.wait_for("Ask anything")
    program.type("/sy")
    program.wait_for("begin a new chat with")
    program.type("\t")
    program.wait_for("/system")


@pytest.mark.parametrize("editor", ["/no/such/editor", "vi 'unclosed"])
def test_an_editor_that_is_none_is_said(
    editor: str, chat_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", editor)
    with Program([*CHATTERM, "-m", str(chat_model)]) as program:
        program.wait_for("Ask anything")
        program.type("a draft" + CTRL_G)
        program.wait_for("cannot be used")
        program.type(" goes on")
        program.wait_for("goes on")


def test_what_an_editor_writes_is_in_the_prompt(
    tmp_path: Path, chat_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor.py"
    editor.write_text("import sys; open(sys.argv[1], 'a').write(' and more\\n')")
    monkeypatch.setenv("VISUAL", f"{sys.executable} {editor}")
    with Program([*CHATTERM, "-m", str(chat_model)]) as program:
        program.wait_for("Ask anything")
        program.type("a draft" + CTRL_G)
        program.wait_for("a draft and more")


def test_the_chat_scrolls_while_the_prompt_has_the_focus(program: Program) -> None:
    program.type("The first line\r")
    until(lambda: written(program) > 6000)
    stop(program)
    program.wait_for("stopped by you")
    program.type(CTRL_HOME)
    program.wait_for("The first line")
    program.type(PAGE_DOWN)
    program.type(CTRL_END)
    program.wait_for("stopped by you")


def test_retrying_makes_another_reply(program: Program) -> None:
    program.type("Hello\r")
    stop(program)
    program.wait_for("retry")
    program.type(CTRL_R)
    until(lambda: len(endings(program)) == 2)
    parents = {parent for (parent,) in rows(program, "SELECT parent FROM messages WHERE id > 1")}
    assert parents == {1}


def test_ctrl_c_stops_first_and_quits_at_the_second_time(program: Program) -> None:
    program.type("Hello\r")
    until(lambda: written(program) > 0)
    program.type(CTRL_C)
    until(lambda: endings(program) == ["stopped"])
    program.type(CTRL_C)
    program.wait_for("again to quit")
    assert program.process.poll() is None
    program.type(CTRL_C)
    assert program.ended() == 0


def test_quitting_in_the_middle_keeps_all_and_leaves_no_engine(
    program: Program, chat_model: Path
) -> None:
    (engine,) = engines(program)
    program.type("Hello\r")
    until(lambda: written(program) > 0)
    program.type("/exit\r")
    assert program.ended() == 0
    until(lambda: not alive(engine))
    assert endings(program) == ["stopped"]
    command = [*CHATTERM, "-m", str(chat_model), "--resume"]
    with Program(command, folder=program.folder) as again:
        again.wait_for("Hello")
        again.wait_for("stopped by you")


def test_the_engine_may_die_and_the_conversation_goes_on(program: Program) -> None:
    program.type("Hello\r")
    until(lambda: written(program) > 0)
    (engine,) = engines(program)
    engine.send_signal(signal.SIGKILL)
    program.wait_for("memory ran out")
    until(lambda: endings(program) == ["failed"])
    assert written(program) > 0
    until(lambda: [other for other in engines(program) if other.pid != engine.pid])
    program.wait_for("Ask anything")
    program.type("Again\r")
    until(lambda: len(endings(program)) == 2)
    stop(program, replies=2)


def test_what_waits_is_back_in_the_prompt_when_the_engine_dies(program: Program) -> None:
    program.type("Hello\r")
    until(lambda: written(program) > 0)
    program.type("The next one\r")
    program.wait_for("waits its turn")
    (engine,) = engines(program)
    engine.send_signal(signal.SIGKILL)
    until(lambda: endings(program) == ["failed"])
    until(lambda: [other for other in engines(program) if other.pid != engine.pid])
    program.type("!\r")
    until(lambda: len(endings(program)) == 2)
    asked = rows(program, "SELECT text FROM messages WHERE role = 'user' ORDER BY id")
    assert asked == [("Hello",), ("The next one!",)]


def test_what_was_not_sent_is_in_the_prompt_after_the_next_start(
    program: Program, chat_model: Path
) -> None:
    program.type("Hello\r")
    until(lambda: written(program) > 0)
    program.type("Waiting words\r")
    program.wait_for("waits its turn")
    program.type("and a draft")
    program.wait_for("draft")
    program.type(CTRL_Q)
    assert program.ended() == 0
    with Program([*CHATTERM, "-m", str(chat_model)], folder=program.folder) as again:
        again.wait_for("Waiting words")
        again.wait_for("and a draft")


def begin_loading(program: Program) -> None:
    # Its template is never done, so that this takes seconds.
    until(lambda: children(program, "chatterm.engine.template"))


def begin_reading(program: Program) -> None:
    until(lambda: rows(program, "SELECT value FROM remembered"))
    program.type("\x1b[200~" + "the cat " * 3000 + "\x1b[201~")
    program.wait_for("24,000 characters")
    program.type("\r")
    until(lambda: endings(program) == [None])


def begin_writing(program: Program) -> None:
    until(lambda: rows(program, "SELECT value FROM remembered"))
    program.type("Hello\r")
    until(lambda: written(program) > 0)


def do_nothing(program: Program) -> None:
    until(lambda: rows(program, "SELECT value FROM remembered"))


@pytest.mark.parametrize("begin", [begin_loading, begin_reading, begin_writing, do_nothing])
def test_a_kill_of_the_program_takes_its_processes_with_it_and_loses_no_message(
    begin: Callable[[Program], None], chat_model: Path, tmp_path: Path
) -> None:
    slow = gguf_models.write_llama(tmp_path / "slow.gguf", template=ENDLESS_TEMPLATE)
    model = slow if begin is begin_loading else chat_model
    with Program([*CHATTERM, "-m", str(model)]) as program:
        begin(program)
        processes = psutil.Process(program.pid).children(recursive=True)
        assert len(processes) >= 2
        asked = rows(program, "SELECT count(*) FROM messages WHERE role = 'user'")
        program.process.kill()
        until(lambda: not any(alive(process) for process in processes))
        assert rows(program, "PRAGMA integrity_check") == [("ok",)]
        assert rows(program, "SELECT count(*) FROM messages WHERE role = 'user'") == asked


def test_a_resize_in_the_middle_of_a_reply_is_survived(program: Program) -> None:
    program.type("Hello\r")
    for columns, height in ((80, 24), (60, 16), (20, 5), (200, 60), (120, 40)):
        seen = written(program)
        program.resize(columns, height)
        until(lambda seen=seen: written(program) > seen or endings(program) == ["context"])  # type: ignore[misc]
    assert program.process.poll() is None
    program.type(ESCAPE)
    until(lambda: endings(program)[0] is not None)


def test_a_small_terminal_has_all_that_is_needed(chat_model: Path) -> None:
    command = [*CHATTERM, "-m", str(chat_model)]
    with Program(command, columns=80, rows=24) as program:
        program.wait_for("Ask anything")
        program.type("\x1bOQ")  # F2
        program.wait_for("temperature")
        program.type("\x1bOQ")
        until(lambda: rows(program, "SELECT value FROM remembered"))
        program.type("Hello\r")
        stop(program)


def test_it_says_what_a_model_is_and_takes_a_path(program: Program, base_model: Path) -> None:
    program.type("\x1bOS")  # F4
    program.wait_for("A model is a GGUF file")
    program.type(f"{base_model}\r")
    name = os.fsencode(base_model)
    until(lambda: rows(program, "SELECT value FROM remembered") == [(name,)])


def test_a_model_that_is_none_is_said_and_the_program_goes_on(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\xff" * 100)
    with Program([*CHATTERM, "-m", str(broken)], folder=tmp_path) as program:
        program.wait_for("broken.gguf")
        program.wait_for("Ask anything")
        assert program.process.poll() is None


def test_text_from_outside_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    attack = "\x1b]52;c;aGFja2Vk\x07\x1b]0;hacked\x07[/red]\x9b31m\u202e"
    model = gguf_models.write_llama(tmp_path / f"evil{attack[:8]}.gguf", n_ctx=8192, name=attack)
    (tmp_path / "config.toml").write_text("theme = '\\u001b]0;hacked\\u0007'".replace("'", '"'))
    with Program([*CHATTERM, "-m", str(model)], folder=tmp_path) as program:
        program.wait_for("There is no theme")
        program.wait_for("Ask anything")
        until(lambda: rows(program, "SELECT value FROM remembered"))
        # What a terminal lets through of a paste: it ends at an escape.
        program.type("\x1b[200~" + attack.replace("\x1b", "").replace("\x07", "") + "\x1b[201~\r")
        program.wait_for("hacked")
        stop(program)
        for sequence in (b"\x1b]52;", b"\x1b]0;hacked", b"\xc2\x9b", b"\xe2\x80\xae"):
            assert sequence not in program.raw


def test_the_ui_process_loads_neither_llama_cpp_nor_numpy_nor_jinja2(program: Program) -> None:
    maps = Path(f"/proc/{program.pid}/maps")
    if not maps.exists():
        pytest.skip("/proc is Linux's")
    loaded = maps.read_text()
    assert "llama" not in loaded
    assert "numpy" not in loaded
    assert "markupsafe" not in loaded
    (engine,) = engines(program)
    assert "llama" in Path(f"/proc/{engine.pid}/maps").read_text()


def test_a_chat_without_a_terminal_is_refused_in_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        CHATTERM,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "CHATTERM_DATA_DIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 1
    assert b"chatterm ask" in done.stderr
    assert b"Traceback" not in done.stderr
