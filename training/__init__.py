"""How the built-in model is made. See README.md here; nothing of this is in the wheel."""
