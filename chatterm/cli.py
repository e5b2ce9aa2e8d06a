"""The commands, and the one place where the parts are put together.

The parts are imported where they are used: `chatterm --help` and `chatterm paths` load none of
them. No command shows a traceback for an error that a user can meet.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from chatterm import __version__, builtin, config
from chatterm.chat.pace import OFF, checked_pace
from chatterm.chat.sampling import Sampling, checked
from chatterm.config import Directories, Settings
from chatterm.errors import ChattermError, ModelError, SettingsError, StoreError

if TYPE_CHECKING:
    from chatterm.state import ModelOptions
    from chatterm.store import Store

Model = Annotated[str | None, typer.Option("-m", "--model", help="A model: a GGUF file.")]
Context = Annotated[int | None, typer.Option("-c", "--ctx-size", min=0, help="Context, in tokens.")]
GpuLayers = Annotated[
    int | None, typer.Option("-ngl", "--gpu-layers", min=-1, help="Layers on the GPU; -1 is all.")
]
Threads = Annotated[int | None, typer.Option("-t", "--threads", min=0, help="Threads; 0 chooses.")]
Predict = Annotated[
    int | None, typer.Option("-n", "--n-predict", min=-1, help="Most tokens of a reply; -1 any.")
]
Temperature = Annotated[float | None, typer.Option("--temp", help="Temperature; 0 is greedy.")]
TopP = Annotated[float | None, typer.Option("--top-p", help="Nucleus sampling; 1 is off.")]
TopK = Annotated[int | None, typer.Option("--top-k", help="Candidates kept; 0 is all.")]
MinP = Annotated[float | None, typer.Option("--min-p", help="Least share of the best; 0 is off.")]
Repeat = Annotated[float | None, typer.Option("--repeat-penalty", help="1 is off.")]
Seed = Annotated[int | None, typer.Option("--seed", help="-1 draws one for each reply.")]
Pace = Annotated[
    float | None, typer.Option("--pace", help="Most tokens per second, 5 to 200; 0 is off.")
]
System = Annotated[str | None, typer.Option("--system", help="The system prompt.")]

NO_BUILT_IN = "No model is given, and the built-in one is missing from this installation."

app = typer.Typer(
    name="chatterm",
    help="Talk with a language model in the terminal, and steer it while it writes.",
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """What was given on the command line; None where nothing was."""

    model: str | None = None
    n_ctx: int | None = None
    n_gpu_layers: int | None = None
    n_threads: int | None = None
    pace: float | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    seed: int | None = None
    system: str | None = None
    theme: str | None = None

    @classmethod
    def of(cls, context: typer.Context) -> Flags:
        """The flags of a command, and those that were given before its name."""
        given = {name: value for name, value in context.params.items() if value is not None}
        before = msgspec.structs.asdict(context.obj) if context.obj else {}
        return cls(**{name: given.get(name, before.get(name)) for name in cls.__struct_fields__})

    def over(self, settings: Settings) -> Settings:
        """The settings with what the flags say instead. Raises SettingsError."""
        checked_pace(self.pace or OFF)
        given = {
            name: value for name, value in msgspec.structs.asdict(self).items() if value is not None
        }
        sampling = {name: given.pop(name) for name in Sampling.__struct_fields__ if name in given}
        return msgspec.structs.replace(
            settings,
            sampling=checked(msgspec.structs.replace(settings.sampling, **sampling)),
            **given,
        )


@app.callback(invoke_without_command=True)
def chat(
    context: typer.Context,
    model: Model = None,
    n_ctx: Context = None,
    n_gpu_layers: GpuLayers = None,
    n_threads: Threads = None,
    max_tokens: Predict = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    min_p: MinP = None,
    repeat_penalty: Repeat = None,
    seed: Seed = None,
    pace: Pace = None,
    system: System = None,
    theme: Annotated[str | None, typer.Option("--theme", help="Name of a theme.")] = None,
    resume: Annotated[
        int | None,
        typer.Option("--resume", metavar="[ID]", help="Go on with a chat, the last one or ID."),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Talk with a language model in the terminal, and steer it while it writes."""
    if version:
        typer.echo(f"chatterm {__version__}")
        return
    flags = context.obj = Flags.of(context)
    if context.invoked_subcommand is None:
        _open_chat(flags, resume)


@app.command()
def ask(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="The question; standard input is added.")] = "",
    model: Model = None,
    n_ctx: Context = None,
    n_gpu_layers: GpuLayers = None,
    n_threads: Threads = None,
    max_tokens: Predict = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    min_p: MinP = None,
    repeat_penalty: Repeat = None,
    seed: Seed = None,
    pace: Pace = None,
    system: System = None,
    messages: Annotated[
        Path | None, typer.Option(help="A conversation: a JSON list of {role, content}.")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue the text, without template.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="With --json: each token and its alternatives.")
    ] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Print figures to stderr.")] = False,
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="Print what the model would get, and end.")
    ] = False,
) -> None:
    """Print one reply."""
    from chatterm import ask as asking

    flags = Flags.of(context)
    directories, settings = _settings(flags)
    if tokens and not json:
        raise SettingsError("--tokens needs --json.", "Add --json, or leave --tokens out.")
    found = chosen_model(directories, settings, flags.pace or OFF)
    options = asking.AskOptions(
        messages=asking.conversation(prompt, _standard_input(), messages, settings.system),
        raw=raw,
        json=json,
        tokens=tokens,
        stats=stats,
        show_prompt=show_prompt,
    )
    raise typer.Exit(asking.run(options, found, settings.sampling, directories.log))


@app.command()
def bench(
    context: typer.Context,
    model: Model = None,
    n_ctx: Context = None,
    n_gpu_layers: GpuLayers = None,
    n_threads: Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a model on this machine, and what chatterm costs on top of llama.cpp."""
    from chatterm import bench as benching

    flags = Flags.of(context)
    directories, settings = _settings(flags)
    found = chosen_model(directories, settings)
    measuring = benching.Bench(directories.log)
    try:
        report = measuring.run(found)
    finally:
        measuring.close()
    typer.echo(msgspec.json.encode(report).decode() if json else benching.describe(report))


@app.command()
def paths() -> None:
    """Print where things lie."""
    directories = Directories.of(os.environ)
    for name in ("settings", "themes", "database", "models", "log"):
        typer.echo(f"{name:<10}{getattr(directories, name)}")


def _settings(flags: Flags) -> tuple[Directories, Settings]:
    directories = Directories.of(os.environ)
    settings, problems = config.load_settings(directories.settings)
    for problem in problems:
        typer.echo(problem, err=True)
    return directories, flags.over(config.with_environment(settings, os.environ))


def _standard_input() -> str:
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    return sys.stdin.buffer.read().decode("utf-8", "replace")


def chosen_model(directories: Directories, settings: Settings, pace: float = OFF) -> ModelOptions:
    """The model to load: the one that was named, else the one used last, else the built-in one.

    Raises ModelError when there is none of these.
    """
    name = settings.model or _remembered_model(directories)
    if not name:
        if not builtin.MODEL.exists():
            raise ModelError(
                NO_BUILT_IN, f"Name a GGUF file with -m, or put it into {directories.models}."
            )
        return model_options(builtin.MODEL, settings, pace)
    path = Path(name).expanduser()
    in_models = directories.models / (name if name.endswith(".gguf") else f"{name}.gguf")
    if not path.exists() and in_models.exists():
        path = in_models
    return model_options(path.absolute(), settings, pace)


def model_options(path: Path, settings: Settings, pace: float) -> ModelOptions:
    """How to load the model at `path`."""
    from chatterm.state import ModelOptions

    return ModelOptions(
        path=path,
        n_ctx=settings.n_ctx,
        n_gpu_layers=settings.n_gpu_layers,
        n_threads=settings.n_threads,
        pace=pace,
        built_in=path == builtin.MODEL,
    )


def _remembered_model(directories: Directories) -> str:
    from chatterm.store import Store

    if not directories.database.exists():
        return ""
    store = Store(directories.database)
    try:
        remembered = store.recall("model") or ""
    finally:
        store.close()
    return remembered if remembered and Path(remembered).exists() else ""


def _open_chat(flags: Flags, resume: int | None) -> None:
    from chatterm.session import Session
    from chatterm.store import Store
    from chatterm.ui.app import ChattermApp, Outside
    from chatterm.ui.themes import load_themes

    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise SettingsError(
            "A chat needs a terminal.", "In a script or a pipe, use: chatterm ask PROMPT"
        )
    directories = Directories.of(os.environ)
    settings, problems = config.load_settings(directories.settings)
    settings = flags.over(config.with_environment(settings, os.environ))
    themes, theme_problems = load_themes(directories.themes)

    def options_for(path: Path) -> ModelOptions:
        usual = builtin.PACE if path == builtin.MODEL else OFF
        pace = usual if settings.pace is None else settings.pace
        return model_options(path, settings, pace)

    try:
        load: ModelOptions | None = options_for(chosen_model(directories, settings).path)
    except ModelError as error:
        problems.append(str(error))
        load = None
    places = config.model_places(directories, os.environ)
    store = Store(directories.database)
    session = Session(store, directories.log, settings.sampling, system=settings.system)
    outside = Outside(
        load=load,
        options_for=options_for,
        model_places=places,
        find_models=lambda: config.find_models(places),
        conversations=store.conversations,
        themes=themes,
        theme=settings.theme,
        keys=settings.keys,
        problems=[*problems, *theme_problems],
    )
    try:
        if resume is not None:
            session.open(resume or _last(store))
        ChattermApp(session, outside).run()
    finally:
        session.close()


def _last(store: Store) -> int:
    conversations = store.conversations()
    if not conversations:
        raise StoreError("There is no chat to go on with yet.", "Run chatterm to begin one.")
    return conversations[0].id


def with_resume_value(arguments: list[str]) -> list[str]:
    """The arguments with `--resume` given the value 0, the last chat, where it has none."""
    given: list[str] = []
    for index, argument in enumerate(arguments):
        given.append(argument)
        following = arguments[index + 1] if index + 1 < len(arguments) else ""
        if argument == "--resume" and not following.isdigit():
            given.append("0")
    return given


def main() -> None:
    """The program."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        app(with_resume_value(sys.argv[1:]))
    except ChattermError as error:
        typer.echo(f"chatterm: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # Nobody reads any more. What is still buffered must not be written at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
