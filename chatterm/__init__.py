"""chatterm: talk with a language model in the terminal, and steer it while it writes."""

__version__ = "0.1.0"
