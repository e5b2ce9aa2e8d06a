"""Reading the TOML files that people write by hand: settings and themes.

The invariant: whatever lies in the place of such a file, reading it ends soon, and with a table or
a sentence.
"""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

from chatterm.chat.clean import clean_line
from chatterm.errors import SettingsError

LARGEST = 1024 * 1024  # bytes


def read_toml(file: Path) -> dict[str, Any]:
    """The table in a file. Raises FileNotFoundError, and SettingsError for all else that is wrong.

    The error's words go on from the file's name: "is not TOML: …".
    """
    try:
        found = file.stat()
        # Reading a pipe or a device might never end.
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            raise SettingsError("is not a text file of at most 1 MB.")
        # Editors on Windows begin a file with a byte order mark.
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SettingsError("is not a text file in UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"is not TOML: {clean_line(str(error))}.") from error
    except RecursionError as error:
        raise SettingsError("is nested too deeply.") from error
    except ValueError as error:
        raise SettingsError("has a number of thousands of digits.") from error
