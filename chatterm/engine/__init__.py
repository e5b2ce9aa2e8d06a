"""The engine: the child process that loads a model and writes with it.

`protocol` is imported by both sides of the pipe. Everything else here runs only in the child
(`python -m chatterm.engine`), the one place where llama_cpp, numpy and jinja2 are loaded.
"""
