"""config: directories, settings files good and bad, and where models are found."""

import os
from pathlib import Path

import pytest

from chatterm.chat.sampling import Sampling
from chatterm.config import (
    Directories,
    Settings,
    find_models,
    load_settings,
    model_places,
    with_environment,
)
from chatterm.errors import SettingsError


def load(tmp_path: Path, text: str | bytes) -> tuple[Settings, list[str]]:
    file = tmp_path / "config.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_settings(file)


def test_the_environment_names_the_directories(tmp_path: Path) -> None:
    found = Directories.of({"CHATTERM_DATA_DIR": str(tmp_path), "CHATTERM_CACHE_DIR": "~/c"})
    assert found.database == tmp_path / "chatterm.db"
    assert found.log == Path.home() / "c" / "engine.log"
    assert found.config == Directories.of({}).config


def test_no_file_is_the_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "none.toml") == (Settings(), [])


def test_a_file_says_what_it_says(tmp_path: Path) -> None:
    settings, problems = load(
        tmp_path,
        """
        model = "a.gguf"
        n_ctx = 4096
        pace = 25
        [sampling]
        temperature = 1
        stop = ["END"]
        [keys]
        "chat.stop" = "f9"
        """,
    )
    assert problems == []
    assert settings == Settings(
        model="a.gguf",
        n_ctx=4096,
        pace=25.0,
        sampling=Sampling(temperature=1.0, stop=("END",)),
        keys={"chat.stop": "f9"},
    )


@pytest.mark.parametrize(
    ("text", "named", "kept"),
    [
        ("pace = 3", ["pace", "5 to 200"], Settings()),
        ("pace = true", ["pace", "5 to 200"], Settings()),
        ("n_ctxx = 5\ntheme = 'x'", ["n_ctxx", "n_threads"], Settings(theme="x")),
        ("n_ctx = 'big'\ntheme = 'x'", ["n_ctx", "whole number"], Settings(theme="x")),
        ("n_ctx = true", ["n_ctx", "whole number"], Settings()),
        ("n_threads = -3", ["n_threads", "from 0"], Settings()),
        (
            "[sampling]\ntemperature = -1\ntop_k = 3",
            ["temperature", "from 0 to 100"],
            Settings(sampling=Sampling(top_k=3)),
        ),
        ("[sampling]\nheat = 3", ["heat", "temperature"], Settings()),
        ("n_ctx = 99999999999999999999", ["n_ctx", "from 0 to 16777216"], Settings()),
        ("n_threads = 99999999999999999999", ["n_threads", "from 0 to 512"], Settings()),
        ("n_gpu_layers = 99999999999999999999", ["n_gpu_layers", "from -1 to "], Settings()),
        (f"n_ctx = 0x{'f' * 5000}", ["n_ctx", "from 0 to "], Settings()),
        (f"n_ctx{'.a' * 900} = 1", ["n_ctx", "whole number"], Settings()),
        (f"pace = {'9' * 400}", ["pace", "5 to 200"], Settings()),
        ("pace = nan", ["pace = nan", "5 to 200"], Settings()),
        ("system = 3", ["system = 3", "a text"], Settings()),
        (f"[sampling]\ntop_k = {'9' * 400}", ["top_k = 9", "from 0 to 2147483647"], Settings()),
        ("[sampling]\ntop_k = 1.5", ["top_k = 1.5", "a whole number from 0 to "], Settings()),
        ("[sampling]\ntemperature = 'hot'", ["temperature = 'hot'", "from 0 to 100"], Settings()),
        ("[sampling]\nstop = 'END'", ["stop = 'END'", "a list of texts"], Settings()),
        ("sampling = 3", ["[sampling]"], Settings()),
        ("keys = 3", ["[keys]"], Settings()),
        (
            "[keys]\n'chat.stop' = 3\n'chat.new' = 'f9'",
            ["[keys] chat.stop = 3", "keys in quotes"],
            Settings(keys={"chat.new": "f9"}),
        ),
        ("theme = @", ["not TOML", "line 1"], Settings()),
        (b"\xff\xfe\x00", ["UTF-8"], Settings()),
        ("theme = 'a'\ntheme = 'b'\n", ["not TOML", "line 2"], Settings()),
        ("theme = 'a'\n[keys]\n[keys]\n", ["not TOML", "line 3"], Settings()),
        ("x = " + "[" * 5000, ["nested too deeply"], Settings()),
        ("x = " + "{x = " * 5000, ["nested too deeply"], Settings()),
        ("n_ctx = " + "9" * 5000, ["thousands of digits"], Settings()),
        ("#" * 1_100_000, ["at most 1 MB"], Settings()),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_mistake_costs_one_setting_and_names_file_key_and_what_is_allowed(
    tmp_path: Path, text: str | bytes, named: list[str], kept: Settings
) -> None:
    settings, problems = load(tmp_path, text)
    assert settings == kept
    assert len(problems) == 1
    assert "config.toml" in problems[0]
    for word in named:
        assert word in problems[0]


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbftheme = 'x'") == (Settings(theme="x"), [])


def test_a_directory_in_place_of_the_file_is_said(tmp_path: Path) -> None:
    settings, problems = load_settings(tmp_path)
    assert settings == Settings()
    assert problems == [f"{tmp_path} is not a text file of at most 1 MB. The defaults are used."]


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices are POSIX's")
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_would_never_end_is_not_read(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "config.toml"
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    settings, problems = load_settings(file)
    assert settings == Settings()
    assert problems == [f"{file} is not a text file of at most 1 MB. The defaults are used."]


def test_a_directory_that_cannot_be_is_said() -> None:
    with pytest.raises(SettingsError, match="home directory"):
        Directories.of({"CHATTERM_DATA_DIR": "~nobody-of-this-name/x"})


def test_the_environment_is_above_the_file() -> None:
    settings = with_environment(Settings(model="a"), {"CHATTERM_MODEL": "b"})
    assert settings.model == "b"
    assert with_environment(Settings(model="a"), {}).model == "a"


def test_models_are_found_once_and_by_name(tmp_path: Path) -> None:
    for name in ("b.gguf", "sub/A.GGUF", "big-00001-of-00002.gguf", "big-00002-of-00002.gguf",
                 "mmproj-x.gguf", "readme.md"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = find_models([tmp_path, tmp_path / "sub", tmp_path / "missing"])
    assert [path.name for path in found] == ["A.GGUF", "b.gguf", "big-00001-of-00002.gguf"]


def test_the_usual_places_are_looked_at_chatterms_own_first(tmp_path: Path) -> None:
    directories = Directories(tmp_path, tmp_path, tmp_path)
    places = model_places(directories, {"HF_HOME": str(tmp_path / "hf")})
    assert places[0] == directories.models
    assert tmp_path / "hf" / "hub" in places
