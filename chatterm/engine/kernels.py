"""Whether llama.cpp's repacked weights can be used on this processor.

Where a processor has AMX, llama.cpp repacks quantised weights for it. Compiled by some versions of
GCC (bug 114098: the tile configuration is optimised away), these kernels end the process at the
first prompt. Nothing but running them tells, so a process of its own does that, with the built-in
model.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from chatterm import builtin

_PROMPT_TOKENS = 16  # more than one: a single token takes another way
_DEADLINE_S = 20.0
_CPUINFO = Path("/proc/cpuinfo")


class KernelCheck:
    """The check, begun as soon as it is made; `repack_works` waits for what it comes to."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._works: bool | None = None if has_amx() else True
        if self._works is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "chatterm.engine.kernels"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    @property
    def repack_works(self) -> bool:
        """Whether weights may be repacked."""
        if self._works is None:
            assert self._process is not None
            try:
                self._works = self._process.wait(_DEADLINE_S) == 0
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._works = False
        return self._works


def has_amx() -> bool:
    """Whether the processor has AMX. llama.cpp uses it on Linux alone."""
    try:
        return b" amx_int8" in _CPUINFO.read_bytes()
    except OSError:
        return False


def _run_them() -> None:
    """Evaluate a short prompt on repacked weights. Ends in SIGSEGV where they do not work."""
    import llama_cpp.llama_cpp as llama

    parameters = llama.llama_model_default_params()
    parameters.use_extra_bufts = True
    parameters.n_gpu_layers = 0
    weights = llama.llama_model_load_from_file(str(builtin.MODEL).encode(), parameters)
    if not weights:
        sys.exit(1)
    context_parameters = llama.llama_context_default_params()
    context_parameters.n_ctx = 64
    context = llama.llama_init_from_model(weights, context_parameters)
    tokens = (llama.llama_token * _PROMPT_TOKENS)(*range(_PROMPT_TOKENS))
    sys.exit(llama.llama_decode(context, llama.llama_batch_get_one(tokens, _PROMPT_TOKENS)))


if __name__ == "__main__":
    _run_them()
