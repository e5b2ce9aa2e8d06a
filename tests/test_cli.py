"""The commands, run as a user runs them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from waiting import until

from chatterm.chat.message import Ending
from chatterm.flags import with_resume_value

if sys.platform != "win32":
    import fcntl
    import termios

    from in_pty import Program

posix = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and shells are POSIX's")

# chatterm, which says on standard error what its session is doing, when that changes.
WATCHED = """
import sys
from chatterm import session
from chatterm.cli import main

class Watched(session.Session):
    said = told = None

    @property
    def on_change(self):
        return self.watch

    @on_change.setter
    def on_change(self, told):
        self.told = told

    def watch(self):
        running = self.state.running
        now = running.phase if running else "loading" if self.state.loading is not None else ""
        if now != self.said:
            self.said = now
            print("now", now, file=sys.stderr, flush=True)
        self.told()

session.Session = Watched
main()
"""

KEYS = {
    "text", "finish_reason", "model", "prompt_tokens", "cached_tokens", "evaluated_tokens",
    "completion_tokens", "ttft_s", "tokens_per_s", "seed", "settings",
}  # fmt: skip


def start(
    folder: Path, *arguments: str | Path, program: str = "", **more: str
) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "CHATTERM_DATA_DIR": str(folder),
        "CHATTERM_CONFIG_DIR": str(folder),
        "CHATTERM_CACHE_DIR": str(folder),
        **more,
    }
    return subprocess.Popen(
        [sys.executable, *(("-c", program) if program else ("-m", "chatterm"))]
        + [str(argument) for argument in arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )


def run(
    folder: Path, *arguments: str | Path, piped: bytes = b"", **more: str
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    process = start(folder, *arguments, **more)
    out, err = process.communicate(piped, timeout=60)
    assert b"Traceback" not in err, err.decode()
    return process.returncode, out.decode(), err.decode()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """Exit code, the rest of standard output and of standard error."""
    assert process.stdin
    assert process.stdout
    assert process.stderr
    if not process.stdin.closed:
        process.stdin.close()
    out, err = process.stdout.read().decode(), process.stderr.read().decode()
    assert "Traceback" not in err, err
    return process.wait(60), out, err


def until_it_is(process: subprocess.Popen[bytes], phase: str) -> None:
    """Wait until a WATCHED program says that it is in this phase."""
    assert process.stderr
    for line in process.stderr:
        if line.decode().split() == ["now", phase]:
            return
    raise AssertionError(f"it was never {phase}")


def engine_of(process: subprocess.Popen[bytes]) -> psutil.Process:
    """The engine of a running program, as soon as there is one."""

    def probe() -> psutil.Process | None:
        for child in psutil.Process(process.pid).children():
            if "chatterm.engine" in child.cmdline():
                return child
        return None

    return until(probe)


def one_sentence(ending: tuple[int, str, str]) -> str:
    """What was said on standard error by a program that failed as it should."""
    code, out, err = ending
    assert (code, out) == (1, "")
    assert err.startswith("chatterm: ")
    assert len(err.splitlines()) == 1
    return err


def write_messages(folder: Path, *messages: tuple[str, str]) -> Path:
    file = folder / "chat.json"
    file.write_text(json.dumps([{"role": role, "content": text} for role, text in messages]))
    return file


def test_one_reply_goes_to_standard_output_alone(tmp_path: Path, chat_model: Path) -> None:
    code, out, err = run(tmp_path, "ask", "Hello", "-m", chat_model, "-n", "8", "--temp", "0")
    assert (code, err) == (0, "")
    assert out.strip()
    again = run(tmp_path, "ask", "Hello", "-m", chat_model, "-n", "8", "--temp", "0", "--stats")
    assert again[1] == out
    assert "8 tokens" in again[2]


def test_the_same_seed_gives_the_same_reply(tmp_path: Path, chat_model: Path) -> None:
    flags = ("ask", "Hello", "-m", chat_model, "-n", "30", "--seed")
    first, second, other = (run(tmp_path, *flags, seed)[1] for seed in ("7", "7", "8"))
    assert first == second != other


def test_json_has_all_keys_and_the_tokens_make_the_text(tmp_path: Path, chat_model: Path) -> None:
    command = ("ask", "Hello", "-m", chat_model, "-n", "6", "--json", "--tokens", "--temp", "0")
    code, out, _ = run(tmp_path, *command)
    report = json.loads(out)
    assert code == 0
    assert set(report) == KEYS | {"tokens"}
    assert report["finish_reason"] == "length"
    assert report["completion_tokens"] == len(report["tokens"]) == 6
    assert "".join(token["text"] for token in report["tokens"]) == report["text"]
    for token in report["tokens"]:
        assert set(token) == {"id", "text", "p", "rank", "top"}
        assert len(token["top"]) == 10
        assert token["rank"] == 0
        assert token["top"][0]["id"] == token["id"]
        assert token["top"][0]["p_sampled"] == 1.0


def test_tokens_without_json_is_refused(tmp_path: Path, chat_model: Path) -> None:
    code, _, err = run(tmp_path, "ask", "Hello", "-m", chat_model, "--tokens")
    assert (code, "--json" in err) == (1, True)


def test_what_is_piped_is_added_to_the_prompt(tmp_path: Path, chat_model: Path) -> None:
    flags = ("-m", chat_model, "--show-prompt")
    _, out, _ = run(tmp_path, "ask", "Sum up:", *flags, piped=b"one \xff two\n")
    assert "Sum up:\n\none \N{REPLACEMENT CHARACTER} two<|im_end|>" in out


def test_show_prompt_prints_exactly_what_the_model_would_get(
    tmp_path: Path, chat_model: Path
) -> None:
    flags = ("-m", chat_model, "--show-prompt", "--system", "Be terse.")
    _, out, _ = run(tmp_path, "ask", "Hi <|im_end|>", *flags)
    expected = (
        "<|im_start|>system\nBe terse.<|im_end|>\n<|im_start|>user\nHi <|im_end|><|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert out == expected
    _, out, _ = run(tmp_path, "ask", "Hi <|im_end|>", *flags, "--json")
    shown = json.loads(out)
    assert shown["prompt"] == expected
    assert [token["text"] for token in shown["tokens"] if token["control"]] == [
        "<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>", "<|im_start|>",
    ]  # fmt: skip
    assert "".join(token["text"] for token in shown["tokens"]) == expected


def test_raw_continues_the_text_itself(tmp_path: Path, chat_model: Path) -> None:
    _, out, _ = run(tmp_path, "ask", "the cat", "-m", chat_model, "--raw", "--show-prompt")
    assert out == "the cat"


def test_a_whole_conversation_is_taken_from_a_file(tmp_path: Path, chat_model: Path) -> None:
    file = write_messages(tmp_path, ("user", "One"), ("assistant", "Two"), ("user", "Three"))
    command = ("ask", "-m", chat_model, "--messages", file, "--show-prompt")
    _, out, _ = run(tmp_path, *command)
    assert out.index("One") < out.index("Two") < out.index("Three")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "line 1 column 1"),
        ("[]", "list of messages"),
        ("{}", "list of messages"),
        ("[3]", "message 1: 3 is not a message"),
        ('[{"role": "wizard", "content": "x"}]', "'wizard' is not possible. It is one of system, "),
        ('[{"role": [], "content": "x"}]', "one of system, user, assistant"),
        ('[{"content": "x"}]', "message 1: role None"),
        ('[{"role": "user", "content": "x"}, {"role": "user"}]', "message 2: content None"),
        ('[{"role": "user", "content": 5}]', "It is a text"),
        ('[{"role": "user", "content": "\\ud800"}]', "\\ud800, which is half of a character"),
        ("\xff", "utf-8"),
        ('[{"role": "user", "x": ' + "[" * 50_000, "nested too deeply"),
        ('[{"role": "user", "x": ' + "9" * 5000, "4300 digits"),
    ],
    ids=lambda value: value[:50],
)
def test_a_file_that_is_no_conversation_is_said(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "chat.json"
    file.write_bytes(content.encode("latin-1"))
    err = one_sentence(run(tmp_path, "ask", "-m", "x.gguf", "--messages", file))
    assert str(file) in err
    assert words in err


@pytest.mark.parametrize("name", ["", "missing.json", "chat.json/x", "x" * 5000])
def test_a_conversation_that_cannot_be_read_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "chat.json").touch()
    err = one_sentence(run(tmp_path, "ask", "-m", "x.gguf", "--messages", tmp_path / name))
    assert "cannot be read: " in err


def test_a_conversation_may_have_a_byte_order_mark_and_keys_of_its_own(
    tmp_path: Path, chat_model: Path
) -> None:
    file = tmp_path / "chat.json"
    file.write_text('\ufeff[{"role": "user", "content": "Hi", "name": {"a": [1]}}]', "utf-8")
    _, out, _ = run(tmp_path, "ask", "-m", chat_model, "--messages", file, "--show-prompt")
    assert "user\nHi<|im_end|>" in out


@posix
def test_a_conversation_may_come_from_a_pipe(tmp_path: Path, chat_model: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = start(tmp_path, "ask", "-m", chat_model, "--messages", pipe, "--show-prompt")
    assert process.stdin
    process.stdin.close()
    pipe.write_bytes(b'[{"role": "user", "content": "Hi"}]')
    assert "user\nHi<|im_end|>" in ended(process)[1]


@posix
def test_a_conversation_without_end_is_not_read(tmp_path: Path) -> None:
    command = ("ask", "-m", "x.gguf", "--messages", "/dev/zero")
    assert "/dev/zero is longer than 64 MB" in one_sentence(run(tmp_path, *command))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no model file"),
        (b"", "empty"),
        (b"not a model at all", "GGUF"),
        (b"GGUF" + b"\x00" * 40, "model.gguf"),
    ],
)
def test_a_file_that_is_no_model_is_one_sentence(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    model = tmp_path / "model.gguf"
    if content is not None:
        model.write_bytes(content)
    code, out, err = run(tmp_path, "ask", "Hello", "-m", model)
    assert (code, out) == (1, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_a_truncated_model_is_one_sentence(tmp_path: Path, chat_model: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(chat_model.read_bytes()[:-1000])
    code, _, err = run(tmp_path, "ask", "Hello", "-m", model)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "model.gguf" in err


def test_a_prompt_longer_than_the_context_is_refused(tmp_path: Path, chat_model: Path) -> None:
    command = ("ask", "word " * 900, "-m", chat_model, "-c", "256")
    assert "256" in one_sentence(run(tmp_path, *command))
    assert "256" in one_sentence(run(tmp_path, *command, "--json", "--tokens", "--stats"))


def test_a_prompt_of_a_megabyte_is_refused(tmp_path: Path, chat_model: Path) -> None:
    command = ("ask", "Sum up:", "-m", chat_model)
    err = one_sentence(run(tmp_path, *command, piped=b"\xff word\n" * 150_000))
    assert "8192" in err


@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_what_is_given_of_a_reply_is_not_printed_again(
    tmp_path: Path, chat_model: Path, extra: tuple[str, ...]
) -> None:
    file = write_messages(tmp_path, ("user", "Hello"), ("assistant", "Once upon a time"))
    command = ("ask", "-m", chat_model, "--messages", file, "-n", "6", "--temp", "0")
    code, out, _ = run(tmp_path, *command, *extra)
    report = json.loads(run(tmp_path, *command, "--json", "--tokens")[1])
    assert code == 0
    assert "Once" not in out
    assert report["text"] == (json.loads(out)["text"] if extra else out.removesuffix("\n"))
    assert report["completion_tokens"] == len(report["tokens"]) == 6
    assert "".join(token["text"] for token in report["tokens"]) == report["text"]


@posix
def test_an_engine_that_dies_leaves_the_text_so_far(tmp_path: Path, chat_model: Path) -> None:
    process = start(tmp_path, "ask", "Hello", "-m", chat_model, "--stats")
    assert process.stdin
    assert process.stdout
    process.stdin.close()
    first = process.stdout.read(1)
    engine_of(process).kill()
    code, rest, err = ended(process)
    assert code == 1
    assert (first.decode() + rest).endswith("\n")
    assert err.startswith("chatterm: The engine ended.")
    assert len(err.splitlines()) == 1


@posix
def test_an_engine_that_dies_leaves_no_object(tmp_path: Path, chat_model: Path) -> None:
    process = start(tmp_path, "ask", "Hello", "-m", chat_model, "--json", program=WATCHED)
    assert process.stdin
    process.stdin.close()
    until_it_is(process, "writing")
    engine_of(process).kill()
    code, out, err = ended(process)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("chatterm: The engine ended.")


def test_without_a_model_the_built_in_one_answers(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "ask", "Hello", "-n", "20", "--json", CHATTERM_MODEL="")
    assert (code, err) == (0, "")
    assert json.loads(out)["model"] == "chatterm tiny"


def test_a_missing_built_in_model_is_one_sentence(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from chatterm import builtin;"
        "builtin.MODEL = Path('nowhere.gguf'); from chatterm.cli import main; main()"
    )
    code, _, err = run(tmp_path, "ask", "Hello", program=program, CHATTERM_MODEL="")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "built-in" in err
    assert str(tmp_path / "models") in err


@pytest.mark.parametrize("pace", ["3", "-1", "500"])
def test_a_pace_that_is_none_is_refused(tmp_path: Path, pace: str) -> None:
    code, _, err = run(tmp_path, "ask", "Hello", "--pace", pace)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "5 to 200" in err


def test_the_environment_names_a_model(tmp_path: Path, chat_model: Path) -> None:
    code, out, _ = run(tmp_path, "ask", "Hello", "-n", "4", CHATTERM_MODEL=str(chat_model))
    assert (code, bool(out)) == (0, True)


def test_flags_before_the_command_count_too(tmp_path: Path, chat_model: Path) -> None:
    _, out, _ = run(tmp_path, "-m", chat_model, "-n", "3", "ask", "Hello", "--json")
    assert json.loads(out)["completion_tokens"] == 3


def test_a_bad_setting_is_told_and_the_reply_is_given(tmp_path: Path, chat_model: Path) -> None:
    (tmp_path / "config.toml").write_text("[sampling]\ntemperature = 'hot'\n")
    code, out, err = run(tmp_path, "ask", "Hello", "-m", chat_model, "-n", "4")
    assert (code, bool(out)) == (0, True)
    assert "config.toml" in err
    assert "temperature" in err


def test_a_flag_that_is_out_of_range_is_one_sentence(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "ask", "Hello", "-m", "x.gguf", "--top-p", "7")
    assert code == 1
    assert err == "chatterm: --top-p = 7.0 is not possible. It is a number from 0 to 1.\n"


@pytest.mark.parametrize(
    ("flag", "value", "allowed"),
    [
        ("-c", "9" * 20, "-c/--ctx-size = 9{20} is .* tokens from 0 to 16777216"),
        ("-c", "-5", "-c/--ctx-size = -5 is .* from 0 to 16777216"),
        ("-t", "513", "-t/--threads = 513 is .* from 0 to 512"),
        ("-ngl", "9" * 20, "-ngl/--gpu-layers = 9{20} is .* from -1 to 2147483647"),
        ("-n", "abc", "-n/--n-predict = 'abc' is .* a whole number of tokens from -1 to "),
        ("-n", "-2", "-n/--n-predict = -2 is .* from -1 to "),
        ("-n", "1.5", "-n/--n-predict = '1.5' is .* a whole number"),
        ("--top-k", "9" * 400, "--top-k = 9{59}… is .* from 0 to 2147483647"),
        ("--top-k", "9" * 5000, "--top-k = '9{58}… is .* from 0 to 2147483647"),
        ("--temp", "nan", "--temp = nan is .* from 0 to 100"),
        ("--pace", "9" * 400, "--pace = inf is .* from 5 to 200"),
    ],
    ids=lambda value: value[:20],
)
def test_a_number_that_cannot_be_is_refused_with_what_can(
    tmp_path: Path, flag: str, value: str, allowed: str
) -> None:
    err = one_sentence(run(tmp_path, "ask", "hi", "-m", "x.gguf", flag, value))
    assert re.match(f"chatterm: {allowed}", err)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ask hi --nope", "--nope"),
        ("ask hi --nope", "chatterm ask --help lists the flags."),
        ("ask hi --templ 3", "--temp"),
        ("ask two words", "words"),
        ("ask hi --json=3", "--json"),
        ("ask hi --temp", "--temp"),
        ("frob", "chatterm --help lists commands and flags."),
        ("aks", "'ask'"),
        ("paths x", "chatterm paths --help lists the flags."),
        (f"--resume {'9' * 20}", "--resume = 99999999999999999999 is not possible."),
        ("--resume x", "'x'"),
    ],
)
def test_misuse_is_one_sentence_and_what_to_do(tmp_path: Path, command: str, words: str) -> None:
    assert words in one_sentence(run(tmp_path, *command.split()))


@pytest.mark.parametrize(
    ("name", "words"), [("~no-such-user/x", "home directory"), ("x" * 5000, "File name too long")]
)
def test_a_model_that_cannot_be_a_file_is_one_sentence(
    tmp_path: Path, name: str, words: str
) -> None:
    assert words in one_sentence(run(tmp_path, "ask", "hi", "-m", name))


def test_settings_that_never_end_leave_the_defaults(tmp_path: Path, chat_model: Path) -> None:
    (tmp_path / "config.toml").write_text("x = " + "[" * 5000)
    code, out, err = run(tmp_path, "ask", "Hello", "-m", chat_model, "-n", "4")
    assert (code, bool(out)) == (0, True)
    assert err.splitlines() == [
        f"{tmp_path / 'config.toml'} is nested too deeply. The defaults are used."
    ]


WRITERS = ["ask", "ask --json", "ask --show-prompt", "paths", "--help", "ask --help", "--version"]


def write_to(place: str, folder: Path, command: str, model: Path) -> tuple[int, str, str]:
    """Run a command with its standard output, or both outputs, sent to a place by a shell."""
    name, *more = command.split()
    asked = ("Hello", "-m", model, "-n", "4") if name == "ask" else ()
    script = (
        f"import os, sys; os.execv('/bin/sh', ['sh', '-c', 'exec \"$@\" {place}', 'sh',"
        " sys.executable, '-m', 'chatterm', *sys.argv[1:]])"
    )
    return run(folder, name, *asked, *more, program=script)


@posix
@pytest.mark.parametrize("command", WRITERS)
def test_closed_standard_output_is_one_sentence(
    tmp_path: Path, chat_model: Path, command: str
) -> None:
    err = one_sentence(write_to(">&-", tmp_path, command, chat_model))
    assert "Standard output is closed" in err


full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")


@full
@pytest.mark.parametrize("command", WRITERS)
def test_full_standard_output_is_one_sentence(
    tmp_path: Path, chat_model: Path, command: str
) -> None:
    err = one_sentence(write_to(">/dev/full", tmp_path, command, chat_model))
    assert err == "chatterm: Standard output cannot be written: No space left on device.\n"


@full
@pytest.mark.parametrize("place", ["2>&-", "2>/dev/full"])
def test_standard_error_is_not_needed(tmp_path: Path, chat_model: Path, place: str) -> None:
    (tmp_path / "config.toml").write_text("nothing = 1")
    code, out, err = write_to(place, tmp_path, "ask --stats", chat_model)
    assert (code, err) == (0, "")
    assert out.strip()
    assert "tokens" not in out
    assert write_to(f"{place} >/dev/full", tmp_path, "ask", chat_model) == (1, "", "")


@posix
def test_without_standard_input_the_prompt_is_enough(tmp_path: Path, chat_model: Path) -> None:
    code, out, err = write_to("<&-", tmp_path, "ask", chat_model)
    assert (code, bool(out), err) == (0, True, "")
    assert "cannot be read" in one_sentence(write_to("0>/dev/null", tmp_path, "ask", chat_model))


@posix
def test_a_locale_without_unicode_costs_nothing_but_what_it_cannot_show(
    tmp_path: Path, chat_model: Path
) -> None:
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TERM": "dumb"}
    model = chat_model.rename(chat_model.with_name("Größe.gguf"))
    try:
        command = ("ask", "Grüße", "-m", model, "--system", "ä", "--show-prompt")
        code, out, err = run(tmp_path, *command, piped="ö".encode(), **locale)
        report = json.loads(run(tmp_path, *command, "--json", **locale)[1])
        reply = run(tmp_path, "ask", "Grüße", "-m", model, "-n", "9", **locale)
    finally:
        model.rename(chat_model)
    assert (code, err) == (0, "")
    assert "system\n?<|im_end|>" in out
    assert "user\nGr??e\n\n?<|im_end|>" in out
    assert "user\nGrüße<|im_end|>" in report["prompt"]
    assert (reply[0], bool(reply[1]), reply[2]) == (0, True, "")


@posix
def test_a_model_that_the_locale_cannot_name_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('model = "Größe.gguf"', "utf-8")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "CHATTERM_MODEL": ""}
    assert "LC_ALL" in one_sentence(run(tmp_path, "ask", "Hello", **locale))


def test_a_chat_needs_a_terminal(tmp_path: Path) -> None:
    assert "chatterm ask PROMPT" in one_sentence(run(tmp_path))


@posix
def test_a_terminal_that_only_prints_lines_is_not_enough() -> None:
    with Program(["env", "TERM=dumb", sys.executable, "-m", "chatterm"]) as program:
        program.wait_for("TERM=dumb")
        assert program.ended() == 1


@posix
def test_ctrl_c_while_the_program_starts(tmp_path: Path) -> None:
    process = start(tmp_path, "ask", "Hello", PYTHONPROFILEIMPORTTIME="1")
    assert process.stderr
    for line in process.stderr:
        if b"typer" in line:
            break
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 130


@posix
@pytest.mark.parametrize("phase", ["loading", "reading", "writing"])
@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_ctrl_c_at_any_time_exits_130(
    tmp_path: Path, chat_model: Path, phase: str, extra: tuple[str, ...]
) -> None:
    command = ("ask", "word " * 1500, "-m", chat_model, *extra)
    process = start(tmp_path, *command, program=WATCHED)
    assert process.stdin
    process.stdin.close()
    until_it_is(process, phase)
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert code == 130
    assert "chatterm:" not in err
    if phase == "loading":
        assert out == ""
    elif extra:
        report = json.loads(out)
        assert report["finish_reason"] == Ending.STOPPED
        assert bool(report["text"]) >= (phase == "writing")
    elif phase == "writing":
        assert out.endswith("\n")


@posix
def test_ctrl_c_while_standard_input_is_read(tmp_path: Path) -> None:
    process = start(tmp_path, "ask", "Sum up:", "-m", "x.gguf")
    assert process.stdin
    pipe = process.stdin.fileno()
    os.write(pipe, b"one")
    until(lambda: fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)) == bytes(4))
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "", "")


@posix
def test_ctrl_c_ends_a_measurement(tmp_path: Path, chat_model: Path) -> None:
    process = start(tmp_path, "bench", "-m", chat_model)
    engine_of(process)
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "", "")


@posix
def test_ctrl_c_prints_what_was_written_and_exits_130(tmp_path: Path, chat_model: Path) -> None:
    process = start(tmp_path, "ask", "Hello", "-m", chat_model, "--stats")
    assert process.stdin
    assert process.stdout
    process.stdin.close()
    first = process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.stderr
    assert b"Traceback" not in process.stderr.read()
    assert process.wait(20) == 130
    assert (first + rest).strip()


@posix
def test_a_reader_that_goes_away_ends_it(tmp_path: Path, chat_model: Path) -> None:
    process = start(tmp_path, "ask", "Hello", "-m", chat_model)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdin.close()
    process.stdout.read(1)
    process.stdout.close()
    assert process.wait(20) == 1
    assert process.stderr.read() == b""


def test_bench_reports_its_figures(tmp_path: Path, chat_model: Path) -> None:
    code, out, err = run(tmp_path, "bench", "-m", chat_model, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert set(report) == {
        "model", "load_s", "prefill_tps", "sweep", "engine_over_raw", "stop_decode_ms",
        "stop_prefill_ms", "follow_up",
    }  # fmt: skip
    assert set(report["sweep"][0]) == {"threads", "raw_tps", "engine_tps"}
    assert 0 < report["follow_up"]["evaluated_tokens"] <= report["follow_up"]["new_tokens"] + 32


def test_paths_names_where_things_lie(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, "paths")
    assert code == 0
    for name in ("config.toml", "themes", "chatterm.db", "models", "engine.log"):
        assert str(tmp_path / name) in out


@pytest.mark.parametrize("heavy", ["llama_cpp", "numpy", "jinja2", "textual"])
def test_help_loads_nothing_heavy(heavy: str) -> None:
    program = (
        "import sys, contextlib\nsys.argv = ['chatterm', '--help']\n"
        "from chatterm.cli import main\n"
        "with contextlib.suppress(SystemExit): main()\n"
        f"sys.exit({heavy!r} in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert process.returncode == 0
    assert process.stdout.startswith(b"Usage")


@pytest.mark.parametrize("command", ["", "ask", "bench", "paths"])
def test_help_has_a_line_for_each_flag(tmp_path: Path, command: str) -> None:
    code, out, err = run(tmp_path, *command.split(), "--help", COLUMNS="80")
    assert (code, err) == (0, "")
    flags = re.split(r"Options:\n|\n\n", out)[3 if command == "bench" else 2]
    for line in flags.splitlines():
        assert re.fullmatch(r"  -{1,2}\S.*?  \S.*\.", line)


def test_the_core_is_used_without_the_user_interface() -> None:
    program = (
        "import sys, chatterm.session, chatterm.ask, chatterm.bench\n"
        "sys.exit(bool({'textual', 'llama_cpp', 'numpy', 'jinja2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--resume", "--resume last"),
        ("--resume 7", "--resume 7"),
        ("--resume -m x", "--resume last -m x"),
        ("-m x --resume", "-m x --resume last"),
        ("--resume --resume 7", "--resume last --resume 7"),
        ("--resume ask hi", "--resume last ask hi"),
        ("--system --resume", "--system --resume"),
        ("--system --resume --resume", "--system --resume --resume last"),
        ("-- --resume", "-- --resume"),
        ("ask --resume", "ask --resume"),
    ],
)
def test_resume_takes_a_number_or_none(given: str, meant: str) -> None:
    flags = ("--resume", "-m", "--system")
    assert with_resume_value(given.split(), flags) == meant.split()


def test_a_text_that_looks_like_a_flag_is_left_alone(tmp_path: Path, chat_model: Path) -> None:
    _, out, _ = run(tmp_path, "ask", "-m", chat_model, "--show-prompt", "--", "--resume")
    assert "user\n--resume<|im_end|>" in out
    flags = ("--system", "--resume", "hi", "-m", chat_model, "--show-prompt")
    _, out, _ = run(tmp_path, "ask", *flags)
    assert "system\n--resume<|im_end|>" in out
    assert "user\nhi<|im_end|>" in out
