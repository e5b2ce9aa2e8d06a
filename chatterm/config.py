"""Settings and directories: defaults < settings file < environment < flags.

The invariant: a mistake in the settings file never keeps the program from starting; it costs that
one setting, and is told as a problem that names the file, the key and what is allowed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import platformdirs

from chatterm.chat.clean import clean, clean_line, shown
from chatterm.chat.limits import INT32, Limits, refusal
from chatterm.chat.pace import LIMITS as PACE_LIMITS
from chatterm.chat.sampling import Sampling, with_setting
from chatterm.errors import SettingsError
from chatterm.files import read_toml

NAME = "chatterm"


class Directories(msgspec.Struct, frozen=True):
    """Where things lie."""

    data: Path
    config: Path
    cache: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Directories:
        """The system's usual places, or those that CHATTERM_*_DIR name. Raises SettingsError."""

        def place(variable: str, usual: Path) -> Path:
            named = environment.get(variable)
            return full_path(named) if named else usual

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


LIMITS: dict[str, Limits] = {
    "n_ctx": Limits(0, 2**24, whole=True, unit="tokens"),
    "n_gpu_layers": Limits(-1, INT32, whole=True),
    "n_threads": Limits(0, 512, whole=True),  # GGML_MAX_N_THREADS
    "pace": PACE_LIMITS,
}
_TEXTS = {
    "model": "the path of a GGUF file, in quotes",
    "theme": "the name of a theme, in quotes",
    "system": "a text in quotes",
}


def load_settings(file: Path) -> tuple[Settings, list[str]]:
    """The settings of a file, and a sentence for each thing in it that is wrong."""
    try:
        table = read_toml(file)
    except FileNotFoundError:
        return Settings(), []
    except SettingsError as error:
        return Settings(), [clean_line(f"{file} {error} The defaults are used.", 400)]
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


def full_path(name: str) -> Path:
    """`name` as an absolute path, where ~ is a home directory. Raises SettingsError."""
    try:
        os.fsencode(name)
        return Path(name).expanduser().absolute()
    except UnicodeEncodeError as error:
        raise SettingsError(
            f"This locale has no way to write {clean_line(name)}.", "Set LC_ALL to C.UTF-8, say."
        ) from error
    except RuntimeError as error:
        raise SettingsError(
            f"There is no home directory for {clean_line(name)}.", "Write out the whole path."
        ) from error
    except OSError as error:
        raise SettingsError(
            "The working directory is not there any more.", "Change to another one."
        ) from error


def _setting(key: str, value: object, problems: list[str], file: Path) -> Any:
    if key == "sampling":
        return _sampling(value, problems, file)
    if key == "keys":
        return _keys(value, problems, file)
    if key in LIMITS:
        return LIMITS[key].checked(key, value)
    if key not in _TEXTS:
        raise _unknown(key, Settings.__struct_fields__)
    if not isinstance(value, str):
        raise refusal(key, value, _TEXTS[key])
    return clean(value)


def _unknown(key: str, known: Iterable[str]) -> SettingsError:
    return SettingsError(f"there is no setting {shown(key)}.", f"Known are {', '.join(known)}.")


def _sampling(table: object, problems: list[str], file: Path) -> Sampling:
    if not isinstance(table, dict):
        raise SettingsError("sampling must be a table.", "Write [sampling] on a line of its own.")
    sampling = Sampling()
    for key, value in table.items():
        try:
            if key not in Sampling.__struct_fields__:
                raise _unknown(key, Sampling.__struct_fields__)
            sampling = with_setting(sampling, key, value)
        except SettingsError as error:
            problems.append(f"{file}: [sampling] {error}")
    return sampling


def _keys(table: object, problems: list[str], file: Path) -> dict[str, str]:
    if not isinstance(table, dict):
        raise SettingsError("keys must be a table.", "Write [keys] on a line of its own.")
    good = {name: keys for name, keys in table.items() if isinstance(keys, str)}
    for name in table.keys() - good.keys():
        allowed = 'the keys in quotes, such as "f6" or "f6,ctrl+r"'
        problems.append(f"{file}: [keys] {refusal(clean_line(name, 60), table[name], allowed)}")
    return good


def model_places(directories: Directories, environment: Mapping[str, str]) -> list[Path]:
    """The directories where models usually lie, chatterm's own first."""
    home = Path.home()
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    hub = environment.get("HF_HOME")
    return [
        directories.models,
        full_path("."),
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
