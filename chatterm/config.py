"""Settings and directories: defaults < settings file < environment < flags.

The invariant: a mistake in the settings file never keeps the program from starting; it costs that
one setting, and is told as a problem that names the file, the key and what is allowed.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import platformdirs

from chatterm.chat.clean import clean, clean_line
from chatterm.chat.pace import checked_pace
from chatterm.chat.sampling import Sampling, checked
from chatterm.errors import SettingsError

NAME = "chatterm"


class Directories(msgspec.Struct, frozen=True):
    """Where things lie."""

    data: Path
    config: Path
    cache: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Directories:
        """The system's usual places, or those that CHATTERM_*_DIR name."""

        def place(variable: str, usual: Path) -> Path:
            named = environment.get(variable)
            return Path(named).expanduser().absolute() if named else usual

        return cls(
            data=place("CHATTERM_DATA_DIR", platformdirs.user_data_path(NAME, appauthor=False)),
            config=place(
                "CHATTERM_CONFIG_DIR", platformdirs.user_config_path(NAME, appauthor=False)
            ),
            cache=place("CHATTERM_CACHE_DIR", platformdirs.user_cache_path(NAME, appauthor=False)),
        )

    @property
    def database(self) -> Path:
        """The conversations."""
        return self.data / "chatterm.db"

    @property
    def models(self) -> Path:
        """Where chatterm looks for models first."""
        return self.data / "models"

    @property
    def settings(self) -> Path:
        """The settings file."""
        return self.config / "config.toml"

    @property
    def themes(self) -> Path:
        """The user's own themes."""
        return self.config / "themes"

    @property
    def log(self) -> Path:
        """What the engine and llama.cpp log."""
        return self.cache / "engine.log"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings file can say. Field names are its keys, `sampling` and `keys` its tables.

    n_ctx 0 is the model's own, at most 8192. n_gpu_layers -1 is all. n_threads 0 is one fewer than
    the processor's cores. pace None is off, but for the built-in model in the terminal. `keys` maps
    a binding's id to the keys it shall have.
    """

    model: str = ""
    n_ctx: int = 0
    n_gpu_layers: int = -1
    n_threads: int = 0
    pace: float | None = None
    theme: str = "chatterm-dark"
    system: str = ""
    sampling: Sampling = Sampling()
    keys: dict[str, str] = {}


_ALLOWED = {
    "model": "a path to a GGUF file",
    "n_ctx": "a whole number of tokens from 0",
    "n_gpu_layers": "a whole number from -1",
    "n_threads": "a whole number from 0",
    "pace": "0 (off) or 5 to 200 tokens per second",
    "theme": "the name of a theme",
    "system": "a text",
}
_LOWEST = {"n_ctx": 0, "n_gpu_layers": -1, "n_threads": 0}


def load_settings(file: Path) -> tuple[Settings, list[str]]:
    """The settings of a file, and a sentence for each thing in it that is wrong."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings(), []
    except OSError as error:
        return Settings(), [f"{file} cannot be read: {error.strerror}. The defaults are used."]
    except UnicodeDecodeError:
        return Settings(), [f"{file} is not a text in UTF-8. The defaults are used."]
    except tomllib.TOMLDecodeError as error:
        return Settings(), [f"{file} is not TOML: {error}. The defaults are used."]
    problems: list[str] = []
    values: dict[str, Any] = {}
    for key, value in table.items():
        try:
            values[key] = _setting(key, value, problems, file)
        except SettingsError as error:
            problems.append(f"{file}: {error}")
    return Settings(**values), [clean_line(problem, 400) for problem in problems]


def with_environment(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """The settings with what the environment says instead."""
    model = environment.get("CHATTERM_MODEL")
    return msgspec.structs.replace(settings, model=model) if model else settings


def _setting(key: str, value: Any, problems: list[str], file: Path) -> Any:
    if key == "sampling":
        return _sampling(value, problems, file)
    if key == "keys":
        return _keys(value)
    if key not in _ALLOWED:
        known = ", ".join([*_ALLOWED, "[sampling]", "[keys]"])
        raise SettingsError(f"there is no setting {key!r}.", f"Known are {known}.")
    if key == "pace":
        return _pace(value)
    wanted = type(getattr(Settings(), key))
    if type(value) is not wanted or (key in _LOWEST and value < _LOWEST[key]):
        raise SettingsError(f"{key} = {value!r} is not possible.", f"It is {_ALLOWED[key]}.")
    return clean(value) if isinstance(value, str) else value


def _pace(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingsError(f"pace = {value!r} is not possible.", f"It is {_ALLOWED['pace']}.")
    return checked_pace(float(value))


def _sampling(table: Any, problems: list[str], file: Path) -> Sampling:
    if not isinstance(table, dict):
        raise SettingsError("sampling must be a table.", "Write [sampling] on a line of its own.")
    sampling = Sampling()
    for key, value in table.items():
        try:
            if key not in Sampling.__struct_fields__:
                known = ", ".join(Sampling.__struct_fields__)
                raise SettingsError(f"there is no setting {key!r}.", f"Known are {known}.")
            changed = msgspec.to_builtins(sampling) | {key: value}
            sampling = checked(msgspec.convert(changed, Sampling))
        except (SettingsError, msgspec.ValidationError) as error:
            problems.append(f"{file}: [sampling] {key}: {error}")
    return sampling


def _keys(table: Any) -> dict[str, str]:
    try:
        return msgspec.convert(table, dict[str, str])
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"[keys]: {error}.", 'It maps a binding to keys, like "chat.stop" = "escape".'
        ) from error


def model_places(directories: Directories, environment: Mapping[str, str]) -> list[Path]:
    """The directories where models usually lie, chatterm's own first."""
    home = Path.home()
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    hub = environment.get("HF_HOME")
    return [
        directories.models,
        Path.cwd(),
        Path(hub) / "hub" if hub else cache / "huggingface" / "hub",
        Path(environment.get("LLAMA_CACHE") or cache / "llama.cpp"),
        home / ".lmstudio" / "models",
        home / "models",
    ]


def find_models(places: list[Path], limit: int = 200) -> list[Path]:
    """GGUF files in `places`, at most 6 directories deep, each once, by name.

    Projectors and later parts of split models are left out, since they are no models by themselves.
    """
    found: dict[Path, Path] = {}
    for place in places:
        for folder, folders, files in os.walk(place):
            deep = len(Path(folder).relative_to(place).parts)
            # The working directory can be anything, a home directory too.
            folders[:] = [] if deep >= (1 if place == Path.cwd() else 6) else sorted(folders)
            for name in sorted(files):
                if _is_model(name) and len(found) < limit:
                    path = Path(folder, name)
                    found.setdefault(path.resolve(), path)
    return sorted(found.values(), key=lambda path: path.name.lower())


def _is_model(name: str) -> bool:
    lower = name.lower()
    if not lower.endswith(".gguf") or "mmproj" in lower:
        return False
    return "-of-" not in lower or "00001-of-" in lower
