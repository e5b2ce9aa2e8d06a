"""A model file, from its path to a context that can decode, and what is known about it.

Invariant: what llama.cpp would end the process for, or take a minute to refuse, is refused before
it is asked. A `Model` owns its weights and its context and frees both, in that order reversed.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable
from pathlib import Path

import llama_cpp.llama_cpp as llama
import psutil

from chatterm.chat.clean import clean_line
from chatterm.engine.native import StopFlag, function, take_errors
from chatterm.engine.protocol import Load, ModelInfo
from chatterm.engine.vocab import Vocab
from chatterm.errors import ModelError

DEFAULT_CONTEXT = 8192
# Of a prompt, llama.cpp evaluates this many tokens at once. A GPU cannot be stopped inside of one
# batch, so there a batch is what bounds the time to stop.
BATCH_CPU = 512
BATCH_GPU = 256
# More than this ends llama.cpp.
MOST_THREADS = 512

_MAGIC = b"GGUF"
_HEADER_BYTES = 24
_GPU_TYPES = (1, 2)  # of ggml_backend_dev_type: GPU, integrated GPU
# What llama.cpp logs of files that an older or newer version of it may read.
_OTHER_VERSION = ("invalid ggml type", "this GGUF file", "GGUFv1")
_FTYPE_PREFIX = "LLAMA_FTYPE_MOSTLY_"


class Cancelled(Exception):  # noqa: N818 - not an error: the user stopped the load
    """The load was stopped."""


class Model:
    """Weights and one context for one sequence. `n_ctx` is the number of tokens it may hold."""

    def __init__(self, weights: int, context: int, n_ctx: int, n_threads: int, batch: int) -> None:
        self.weights = weights
        self.context = context
        self.n_ctx = n_ctx
        self.n_threads = n_threads
        self.batch = batch
        self.vocab = Vocab(weights)
        self._stop: StopFlag | None = None

    def watch(self, stop: StopFlag) -> None:
        """Abort a decode when `stop` is set, from now on."""
        stop.watch(self.context)
        self._stop = stop

    def set_threads(self, n_threads: int) -> None:
        """Decode and evaluate with this many threads from now on; 0 leaves it as loaded."""
        threads = _possible(n_threads) or self.n_threads
        llama.llama_set_n_threads(self.context, threads, threads)

    @property
    def chat_template(self) -> str | None:
        """The Jinja template in the model's file."""
        return metadata(self.weights, "tokenizer.chat_template") or None

    @property
    def recurrent(self) -> bool:
        """Whether its state cannot be cut back to a prefix."""
        return bool(
            llama.llama_model_is_recurrent(self.weights)
            or llama.llama_model_is_hybrid(self.weights)
        )

    def free(self) -> None:
        """Give the memory back. The model must not be used any more."""
        llama.llama_free(self.context)
        llama.llama_model_free(self.weights)


def load(
    command: Load, stop: StopFlag, progress: Callable[[float], None], *, repack: bool
) -> Model:
    """Load the model that `command` names. Raises ModelError, or Cancelled when `stop` is set.

    `repack`: whether llama.cpp may rearrange weights for the processor's own kernels.
    """
    path = Path(command.path)
    check_file(path)
    take_errors()
    weights = _load_weights(path, command.n_gpu_layers, repack, stop, progress)
    try:
        _check_kind(weights, path.name)
        n_ctx = _context_size(weights, command.n_ctx)
        n_threads = _possible(command.n_threads) or default_threads()
        batch = BATCH_GPU if gpus() and command.n_gpu_layers != 0 else BATCH_CPU
        context = _make_context(weights, n_ctx, n_threads, batch)
    except BaseException:
        llama.llama_model_free(weights)
        raise
    return Model(weights, context, n_ctx, n_threads, batch)


def default_threads() -> int:
    """Physical cores, less one for the rest of the machine: a token waits for the slowest."""
    return max((psutil.cpu_count(logical=False) or os.cpu_count() or 2) - 1, 1)


def _possible(n_threads: int) -> int:
    return min(max(n_threads, 0), MOST_THREADS)


def check_file(path: Path) -> None:
    """Raise a ModelError unless `path` is a regular file that begins as a GGUF does."""
    name = clean_line(str(path))
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ModelError(f"{name} is a directory, not a model file.", "Name a .gguf file.")
        if not stat.S_ISREG(mode):
            raise ModelError(f"{name} is not a regular file.", "Name a .gguf file.")
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        raise ModelError(f"There is no model file {name}.", "Check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is not a path"
        raise ModelError(f"The model file {name} cannot be read: {reason}.") from None
    if not head:
        raise ModelError(f"The model file {name} is empty.", "Download it again.")
    if not head.startswith(_MAGIC):
        raise ModelError(f"{name} is not a GGUF file.", "chatterm runs models in GGUF files.")
    if len(head) < _HEADER_BYTES:
        raise ModelError(f"The model file {name} is incomplete.", "Download it again.")


def _load_weights(
    path: Path,
    n_gpu_layers: int,
    repack: bool,
    stop: StopFlag,
    progress: Callable[[float], None],
) -> int:
    def report(fraction: float, _data: object) -> bool:
        progress(fraction)
        return not stop

    parameters = llama.llama_model_default_params()
    parameters.n_gpu_layers = n_gpu_layers
    parameters.use_extra_bufts = repack
    callback = llama.llama_progress_callback(report)
    parameters.progress_callback = callback
    weights = llama.llama_model_load_from_file(os.fsencode(path), parameters)
    if stop:
        if weights:
            llama.llama_model_free(weights)
        raise Cancelled
    if not weights:
        raise _load_error(path.name)
    return int(weights)


def _load_error(name: str) -> ModelError:
    reason = next(filter(None, map(_load_reason, take_errors())), "")
    if not reason or "incomplete" in reason:
        title = f"The model file {clean_line(name)} is incomplete or damaged."
        return ModelError(title, "Download it again.")
    return ModelError(
        f"The model file {clean_line(name)} cannot be loaded: {reason.rstrip('.')}.",
        "It may be damaged, or too new for this version of llama.cpp.",
    )


def _load_reason(logged: str) -> str:
    """What a line of llama.cpp's log says of why a file was not loaded, if it says anything.

    Of a header that it cannot read it says in the end only that, and the path. Why that was means
    something to the user only when another version of llama.cpp could read it.
    """
    if any(sign in logged for sign in _OTHER_VERSION):
        return clean_line(logged.partition(": ")[2])
    reason = logged.partition("error loading model:")[2]
    return "" if "failed to load model from" in reason else clean_line(reason)


def _check_kind(weights: int, name: str) -> None:
    """Refuse what does not write text: llama.cpp would abort or write noise."""
    name = clean_line(name)
    architecture = metadata(weights, "general.architecture")
    if not Vocab(weights).usable:
        raise ModelError(f"{name} has no vocabulary.", "It is not a model that can be talked with.")
    if llama.llama_model_has_encoder(weights) or not llama.llama_model_has_decoder(weights):
        kind = "has an encoder"
    elif llama.llama_model_is_diffusion(weights):
        kind = "is a diffusion model"
    elif (
        "bert" in architecture
        or architecture == "gemma-embedding"
        or metadata(weights, f"{architecture}.attention.causal") == "false"
    ):
        kind = "is an embedding model"
    else:
        return
    raise ModelError(
        f"{name} ({clean_line(architecture)}) {kind}, and does not write from left to right.",
        "Choose a text generation model.",
    )


def _context_size(weights: int, asked: int) -> int:
    trained: int = llama.llama_model_n_ctx_train(weights)
    if asked < 0:
        raise ModelError(f"A context of {asked} tokens is not possible.")
    n_ctx = asked or min(trained or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    learned_positions = llama.llama_model_rope_type(weights) == llama.LLAMA_ROPE_TYPE_NONE
    if learned_positions and trained and not llama.llama_model_is_recurrent(weights):
        n_ctx = min(n_ctx, trained)
    needed, present = n_ctx * _bytes_per_token(weights), psutil.virtual_memory().total
    if n_ctx > DEFAULT_CONTEXT and needed > present:
        raise ModelError(
            f"A context of {n_ctx} tokens needs about {needed / 2**30:.0f} GiB, "
            f"and this machine has {present / 2**30:.0f}.",
            "Ask for a smaller one.",
        )
    return n_ctx


def _bytes_per_token(weights: int) -> int:
    """Keys and values in half precision, and a row of the attention mask."""
    heads = max(llama.llama_model_n_head(weights), 1)
    width = llama.llama_model_n_embd(weights) // heads * llama.llama_model_n_head_kv(weights)
    return int(4 * width * llama.llama_model_n_layer(weights) + 4 * BATCH_CPU)


def _make_context(weights: int, n_ctx: int, n_threads: int, batch: int) -> int:
    parameters = llama.llama_context_default_params()
    parameters.n_ctx = n_ctx
    parameters.n_batch = parameters.n_ubatch = min(batch, n_ctx)
    parameters.n_seq_max = parameters.n_outputs_max = 1
    parameters.n_threads = parameters.n_threads_batch = n_threads
    parameters.no_perf = True
    # A sliding-window cache of full size can be cut back; a smaller one has forgotten.
    parameters.swa_full = True
    take_errors()
    context = llama.llama_init_from_model(weights, parameters)
    if not context:
        reason = clean_line((take_errors() or ["no reason given"])[-1])
        raise ModelError(
            f"A context of {n_ctx} tokens could not be made: {reason}",
            "Ask for a smaller one, or fewer layers on the GPU.",
        )
    return int(context)


def describe(
    model: Model, command: Load, *, has_template: bool, template_problem: str = ""
) -> ModelInfo:
    """What the client is told of a loaded model."""
    weights = model.weights
    n_layers: int = llama.llama_model_n_layer(weights)
    found = gpus()
    asked = n_layers if command.n_gpu_layers < 0 else min(command.n_gpu_layers, n_layers)
    return ModelInfo(
        path=command.path,
        name=clean_line(metadata(weights, "general.name") or Path(command.path).stem),
        architecture=clean_line(metadata(weights, "general.architecture")),
        quantisation=_quantisation(weights),
        parameters=llama.llama_model_n_params(weights),
        size_bytes=llama.llama_model_size(weights),
        n_vocab=model.vocab.size,
        n_layers=n_layers,
        n_ctx=model.n_ctx,
        n_ctx_train=llama.llama_model_n_ctx_train(weights),
        gpu_layers=asked if found else 0,
        device=", ".join(found) if found and asked else "CPU",
        n_threads=model.n_threads,
        has_template=has_template,
        template_problem=template_problem,
        can_cut=not model.recurrent,
    )


def _quantisation(weights: int) -> str:
    ftype = llama.llama_model_ftype(weights) & 1023  # without the bit that says it was guessed
    if ftype == llama.LLAMA_FTYPE_ALL_F32:
        return "F32"
    names = (name for name in dir(llama) if name.startswith(_FTYPE_PREFIX))
    return next((n.removeprefix(_FTYPE_PREFIX) for n in names if getattr(llama, n) == ftype), "")


def metadata(weights: int, key: str) -> str:
    """The value of a metadata key as llama.cpp prints it, or nothing."""
    size = 256
    while True:
        buffer = ctypes.create_string_buffer(size)
        length = llama.llama_model_meta_val_str(weights, key.encode(), buffer, size)
        if length < size:
            return buffer.raw[: max(length, 0)].decode("utf-8", "replace")
        size = length + 1


def gpus() -> list[str]:
    """The GPUs that this build of llama.cpp can use, as `CUDA0 (its name)`."""
    if not llama.llama_supports_gpu_offload():
        return []
    pointer = ctypes.c_void_p
    count = function("ggml_backend_dev_count", ctypes.c_size_t)
    get = function("ggml_backend_dev_get", pointer, ctypes.c_size_t)
    kind = function("ggml_backend_dev_type", ctypes.c_int, pointer)
    name = function("ggml_backend_dev_name", ctypes.c_char_p, pointer)
    description = function("ggml_backend_dev_description", ctypes.c_char_p, pointer)
    devices = [get(index) for index in range(count())]
    return [
        clean_line(f"{name(device).decode()} ({description(device).decode('utf-8', 'replace')})")
        for device in devices
        if kind(device) in _GPU_TYPES
    ]
