"""The model that comes with the program: its file, and what is said of it.

It is used when no other is named, configured or remembered. CARD.md here says what it is, what it
was made from and on what terms.
"""

from __future__ import annotations

from pathlib import Path

MODEL = Path(__file__).parent / "chatterm-tiny.gguf"
NAME = "chatterm tiny"
ABOUT = "built in: very small, tells stories and explains how models write"
PACE = 40.0  # tokens per second in the terminal: it writes thousands, which nobody could follow
