"""The commands, run as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chatterm.flags import with_resume_value

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
    file = tmp_path / "chat.json"
    file.write_text(json.dumps([
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two"},
        {"role": "user", "content": "Three"},
    ]))  # fmt: skip
    command = ("ask", "-m", chat_model, "--messages", file, "--show-prompt")
    _, out, _ = run(tmp_path, *command)
    assert out.index("One") < out.index("Two") < out.index("Three")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '[{"role": "wizard", "content": "x"}]', '[{"role": "user"}]', "\xff"],
)
def test_a_file_that_is_no_conversation_is_said(tmp_path: Path, content: str) -> None:
    file = tmp_path / "chat.json"
    file.write_bytes(content.encode("latin-1"))
    code, out, err = run(tmp_path, "ask", "-m", "x.gguf", "--messages", file)
    assert (code, out) == (1, "")
    assert "chat.json" in err
    assert len(err.splitlines()) == 1


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
    code, out, err = run(tmp_path, "ask", "word " * 900, "-m", chat_model, "-c", "256")
    assert (code, out) == (1, "")
    assert "256" in err


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


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
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


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
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
