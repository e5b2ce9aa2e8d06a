"""The commands, and the one place where the parts are put together.

The parts are imported where they are used: `chatterm --help` and `chatterm paths` load none of
them. No command shows a traceback for an error that a user can meet: it is one line on standard
error, and the exit code 1.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import typer.main

from chatterm import __version__, builtin, config, flags, output
from chatterm.chat.clean import clean_line
from chatterm.chat.pace import OFF
from chatterm.config import Directories, Settings
from chatterm.errors import ChattermError, ModelError, SettingsError, StoreError
from chatterm.flags import Flags

if TYPE_CHECKING:
    from chatterm.state import ModelOptions
    from chatterm.store import Store

NO_BUILT_IN = "No model is given, and the built-in one is missing from this installation."

app = typer.Typer(
    name="chatterm",
    epilog="Without a command a chat opens. Each command has a --help of its own.",
    subcommand_metavar="[COMMAND]",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def chat(
    context: typer.Context,
    model: flags.Model = None,
    resume: flags.Resume = None,
    system: flags.System = None,
    max_tokens: flags.Predict = None,
    temperature: flags.Temperature = None,
    top_p: flags.TopP = None,
    top_k: flags.TopK = None,
    min_p: flags.MinP = None,
    repeat_penalty: flags.Repeat = None,
    seed: flags.Seed = None,
    pace: flags.Pace = None,
    n_ctx: flags.Context = None,
    n_gpu_layers: flags.GpuLayers = None,
    n_threads: flags.Threads = None,
    theme: flags.Theme = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Talk with a language model in the terminal, and steer it while it writes."""
    if version:
        typer.echo(f"chatterm {__version__}")
        raise typer.Exit
    given = context.obj = Flags.of(context)
    if context.invoked_subcommand is None:
        _open_chat(given, resume)


@app.command(epilog='Example: git diff | chatterm ask "Write a commit message for this."')
def ask(
    context: typer.Context,
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", parser=flags.as_text, hidden=True)
    ] = "",
    model: flags.Model = None,
    system: flags.System = None,
    messages: flags.Messages = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue PROMPT as a text, not as a chat.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object in place of the text.")
    ] = False,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="With --json: each token, its probability, ten others.")
    ] = False,
    stats: Annotated[
        bool, typer.Option("--stats", help="Print speed and counts to standard error too.")
    ] = False,
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="Print what the model would get, and ask nothing.")
    ] = False,
    max_tokens: flags.Predict = None,
    temperature: flags.Temperature = None,
    top_p: flags.TopP = None,
    top_k: flags.TopK = None,
    min_p: flags.MinP = None,
    repeat_penalty: flags.Repeat = None,
    seed: flags.Seed = None,
    pace: flags.Pace = None,
    n_ctx: flags.Context = None,
    n_gpu_layers: flags.GpuLayers = None,
    n_threads: flags.Threads = None,
) -> None:
    """Print one reply to PROMPT, to which what is piped in is added."""
    from chatterm import ask as asking

    given = Flags.of(context)
    directories, settings = _settings(given)
    if tokens and not json:
        raise SettingsError("--tokens needs --json.", "Add --json, or leave --tokens out.")
    found = chosen_model(directories, settings, given.pace or OFF)
    options = asking.AskOptions(
        messages=asking.conversation(prompt, asking.piped(), messages, settings.system),
        raw=raw,
        json=json,
        tokens=tokens,
        stats=stats,
        show_prompt=show_prompt,
    )
    asking.run(options, found, settings.sampling, directories.log)


@app.command()
def bench(
    context: typer.Context,
    model: flags.Model = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object in place of the text.")
    ] = False,
    n_ctx: flags.Context = None,
    n_gpu_layers: flags.GpuLayers = None,
    n_threads: flags.Threads = None,
) -> None:
    """Measure how fast a model is on this machine.

    Also what chatterm costs on top of llama.cpp alone. Takes a minute or more.
    """
    from chatterm import bench as benching

    directories, settings = _settings(Flags.of(context))
    found = chosen_model(directories, settings)
    measuring = benching.Bench(directories.log)
    try:
        report = measuring.run(found)
    finally:
        measuring.close()
    if json:
        output.write_json(report)
    else:
        typer.echo(benching.describe(report))


@app.command()
def paths() -> None:
    """Print where settings, chats, models and the log lie."""
    directories = Directories.of(os.environ)
    for name in ("settings", "themes", "database", "models", "log"):
        typer.echo(f"{name:<10}{getattr(directories, name)}")


def _settings(given: Flags) -> tuple[Directories, Settings]:
    directories = Directories.of(os.environ)
    settings, problems = config.load_settings(directories.settings)
    for problem in problems:
        typer.echo(problem, err=True)
    return directories, given.over(config.with_environment(settings, os.environ))


def chosen_model(directories: Directories, settings: Settings, pace: float = OFF) -> ModelOptions:
    """The model to load: the one that was named, else the one used last, else the built-in one.

    Raises ModelError when there is none of these, SettingsError when its name cannot be a path.
    """
    name = settings.model or _remembered_model(directories)
    if not name:
        if not builtin.MODEL.exists():
            raise ModelError(
                NO_BUILT_IN, f"Name a GGUF file with -m, or put it into {directories.models}."
            )
        return model_options(builtin.MODEL, settings, pace)
    path = config.full_path(name)
    in_models = directories.models / (name if name.endswith(".gguf") else f"{name}.gguf")
    found = in_models if _exists(in_models) and not _exists(path) else path
    return model_options(found, settings, pace)


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
    return remembered if remembered and _exists(Path(remembered)) else ""


def _exists(path: Path) -> bool:
    # Path.exists raises for a name that is too long, or in a directory that is not ours to read.
    try:
        return path.exists()
    except OSError:
        return False


def _open_chat(given: Flags, resume: int | None) -> None:
    # How long Textual waits for the rest of a key that begins with escape, in ms. Its 100 would be
    # most of the time to a stop.
    os.environ.setdefault("ESCDELAY", "25")
    from chatterm.session import Session
    from chatterm.store import Store
    from chatterm.ui.app import ChattermApp, Outside
    from chatterm.ui.themes import load_themes

    _need_terminal()
    directories = Directories.of(os.environ)
    settings, problems = config.load_settings(directories.settings)
    settings = given.over(config.with_environment(settings, os.environ))
    themes, theme_problems = load_themes(directories.themes)

    def options_for(path: Path) -> ModelOptions:
        usual = builtin.PACE if path == builtin.MODEL else OFF
        pace = usual if settings.pace is None else settings.pace
        return model_options(path, settings, pace)

    try:
        load: ModelOptions | None = options_for(chosen_model(directories, settings).path)
    except (ModelError, SettingsError) as error:
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
        history=store.asked(),
    )
    try:
        if resume is not None:
            session.open(resume or _last(store))
        ChattermApp(session, outside).run()
    finally:
        session.close()


def _need_terminal() -> None:
    in_script = "In a script or a pipe, use: chatterm ask PROMPT"
    if sys.stdin is None or not sys.stdin.isatty() or not sys.stdout.isatty():
        raise SettingsError("A chat needs a terminal.", in_script)
    if os.environ.get("TERM") == "dumb":
        raise SettingsError("A chat needs a terminal that is more than TERM=dumb.", in_script)


def _last(store: Store) -> int:
    conversations = store.conversations()
    if not conversations:
        raise StoreError("There is no chat to go on with yet.", "Run chatterm to begin one.")
    return conversations[0].id


def main() -> None:
    """The program."""
    try:
        output.guard()
        code = _run(sys.argv[1:])
        sys.stdout.flush()
    except ChattermError as error:
        # Nobody reads any more when a pipe is broken, and that is no error to tell of.
        if not isinstance(error.__cause__, BrokenPipeError):
            typer.echo(f"chatterm: {error}", err=True)
        code = 1
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    """Run a command; returns the exit code, which is 130 after Ctrl+C. Raises ChattermError."""
    command = typer.main.get_command(app)
    with_value = {
        name
        for parameter in command.params
        if not getattr(parameter, "is_flag", False)
        for name in parameter.opts
    }
    try:
        arguments = flags.with_resume_value(arguments, with_value)
        # What ends it early, as --help does, is returned as a code; a command itself returns None.
        return command(arguments, prog_name="chatterm", standalone_mode=False) or 0
    except typer.TyperException as error:
        raise _misuse(error) from error


def _misuse(error: typer.TyperException) -> SettingsError:
    """What was wrong with the arguments, and what to do."""
    title = clean_line(error.format_message())
    context = getattr(error, "ctx", None)
    # The parser does not say which command a flag without its value was given to.
    path = f"{context.command_path} " if context else ""
    what = "commands and flags" if path == "chatterm " else "the flags"
    return SettingsError(
        title if title.endswith(("?", ".")) else f"{title}.", f"{path}--help lists {what}."
    )


if __name__ == "__main__":
    main()
