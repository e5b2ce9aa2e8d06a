"""Widgets. They know chatterm.chat and textual; messages go up, calls go down."""
