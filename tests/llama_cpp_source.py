"""Where llama.cpp's source lies, whose vocabularies and chat templates some tests use if present.

Set CHATTERM_LLAMA_CPP to a checkout (or to `vendor/llama.cpp` of llama-cpp-python's source).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def models_folder() -> Path:
    """Its `models` folder; skips the test without one."""
    folder = Path(os.environ.get("CHATTERM_LLAMA_CPP", "")) / "models"
    if not (folder / "templates").is_dir():
        pytest.skip("CHATTERM_LLAMA_CPP does not name llama.cpp's source")
    return folder
