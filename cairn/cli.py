"""The `cairn` command: verbs found by name, loaded when called, and the one place that turns errors into exit codes."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

import click

from cairn import __version__
from cairn.errors import CairnError, Interrupted, StorageProblem, UsageProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

# name -> the first line of its help. The module is `cairn.commands.NAME`; it is imported only when its verb is used,
# and a test compares these lines with the commands' own.
VERBS = {
    "run": "Do a task: write programs, run them in the sandbox, show what changed.",
    "add": "Queue tasks for `cairn work`; nothing runs now.",
    "work": "Run queued tasks until there are none.",
    "watch": "Turn task files into tasks, run them, and write what came of each beside it.",
    "list": "List the tasks of the project, newest first.",
    "show": "Show a task as a reviewer wants it.",
    "diff": "Print a task's changes as a patch that `git apply` takes.",
    "compare": "Rank the variants of a task, and show where they differ.",
    "check": "Run the project's checks over a task's files.",
    "log": "Print the journal of a task: every external call in order.",
    "accept": "Take a task's changes into the project.",
    "reject": "Drop a task's changes.",
    "undo": "Take back an accept, or a rejection.",
    "op": "List what changed the project: accepts and undos.",
    "resume": "Go on with a task that was interrupted, cancelled, or stopped at a limit.",
    "answer": "Answer what a task asks, so that it goes on.",
    "cancel": "End a task that waits or runs; its work is kept.",
    "retry": "Run a task again from today's files.",
    "replay": "Run a task's programs again, offline, and prove that the same changes come out.",
    "export": "Write a task, whole, into one file that can be imported.",
    "import": "Take a task from a file that was exported.",
    "recipes": "List the recipes, which need no model.",
    "gc": "Delete old tasks and what is past undoing.",
    "engine": "Show which workers there are, and what they do.",
    "init": "Write a commented settings file.",
    "doctor": "Say what is missing here and how to mend it.",
    "local": "Install or check the small local model for drafts.",
}


class LazyGroup(click.Group):
    """A group that imports a verb's module only to run it or to show its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The order a newcomer meets them in, not the alphabet's."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """None for an unknown verb; click then says so."""
        if cmd_name not in VERBS:
            return None
        module = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command = import_module(f"cairn.commands.{module}").command
        assert isinstance(command, click.Command)  # noqa: S101 - a verb's module without one is a bug, not an input
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The overview, without loading a single verb."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """An unknown verb names its nearest neighbour."""
        if args and args[0] not in VERBS:
            from difflib import get_close_matches

            near = get_close_matches(args[0], VERBS, n=1)
            raise UsageProblem(
                f"There is no command '{args[0]}'.",
                fix=f"Did you mean: cairn {near[0]}" if near else "cairn --help   lists the commands.",
            )
        if args:
            _require_text(args[0], args[1:])
        return super().resolve_command(ctx, args)


_TAKES_FILE = ("--code", "--file", "-f", "--from")


def _require_text(verb: str, words: Sequence[str]) -> None:
    """What is stored and compared is text; only files on disk may have names that are none."""
    for before, word in zip(("", *words), words, strict=False):
        names_file = (
            before in _TAKES_FILE or word.startswith(_TAKES_FILE) or verb == "import" or (verb == "export" and before)
        )
        if not names_file and any("\ud800" <= letter <= "\udfff" for letter in word):
            raise UsageProblem(
                f"{word!a} is not text.",
                "It has bytes that are no UTF-8.",
                f"cairn {verb} --help   says what it takes.",
            )


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 conflict or stale, 130 interrupted.",
)
@click.version_option(__version__, prog_name="cairn", message="%(prog)s %(version)s")
@click.option(
    "-C",
    "--project",
    "folder",
    type=click.Path(),
    default=None,
    metavar="DIR",
    help="Work on DIR's repository instead of the current folder's.",
)
@click.option("--here", is_flag=True, help="Take the folder itself as the project, not the repository around it.")
@click.pass_context
def cli(ctx: click.Context, folder: str | None, here: bool) -> None:
    """Hand a repository and a sentence to Cairn; read a diff; accept it, reject it, or take it back.

    \b
      cairn run "add docstrings"     a program does it in a sandbox, in an overlay
      cairn diff                     what it changed
      cairn accept                   only now do your files change
      cairn undo                     and now they are as they were
    """
    from cairn.commands import Chosen

    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
    ctx.obj = Chosen(folder=folder, here=here)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and ends the process with the exit code that the design gives its outcome."""
    # `cairn list >&-`: whoever closed a stream does not want it.
    sys.stdin = sys.stdin or Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - open until the end
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows only ASCII gets escapes, not a crash.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:] if arguments is None else list(arguments))
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            _detach(stream)
        except OSError:  # what was to be said reached nobody: a full disk
            _detach(stream)
            code = code or 1
    if "xllamacpp" in sys.modules:
        _end_without_its_threads(code)
    raise SystemExit(code)


def _end_without_its_threads(code: int) -> NoReturn:
    """The local model computes on in threads of its own, and crashes when the interpreter is torn down below it."""
    import atexit

    atexit._run_exitfuncs()  # noqa: SLF001 - there is no public way to end in good order but without the teardown
    os._exit(code)


def run(arguments: list[str]) -> int:
    """The exit code of one command; every error has been told on stderr, and with --json on stdout too."""
    try:
        outcome = cli.main(arguments, prog_name="cairn", standalone_mode=False)
    except BrokenPipeError:
        _detach(sys.stdout)
        return 0  # the reader of a pipe, `head` say, had enough
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())  # `cairn op`: which of its verbs?
        return error.exit_code
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - the last boundary: told, never dumped
        designed = _designed(error)
        try:
            return _tell(designed, as_json="--json" in arguments)
        except OSError:  # a stream that takes nothing, as on a full disk
            return designed.exit_code
    return outcome if isinstance(outcome, int) else 0


def _tell(error: CairnError, *, as_json: bool) -> int:
    from cairn.console import Console

    console = Console(as_json=as_json)
    console.error(error)
    if as_json:
        from cairn.json_output import error_json

        console.json({"error": error_json(error)})
    return error.exit_code


def _designed(error: BaseException) -> CairnError:
    """Any error in Cairn's form: what, why, what to do."""
    match error:
        case CairnError():
            return error
        case KeyboardInterrupt() | click.Abort():
            return Interrupted("Stopped.", fix="cairn list   shows what there is.")
        case click.ClickException():
            return _usage(error)
        case OSError():
            return _system(error)
    return _bug(error)


def _usage(error: click.ClickException) -> CairnError:
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "cairn"
    return UsageProblem(error.format_message(), fix=f"{path} --help   shows how it is used.")


def _system(error: OSError) -> CairnError:
    where = f" ({error.filename})" if error.filename else ""
    return StorageProblem(
        f"The system refused a file operation: {error.strerror or error}{where}.",
        fix="Mend that (disk, permissions), then try again; what was done before is kept.",
    )


def _bug(error: BaseException) -> CairnError:
    """An error nobody designed: its traceback goes to a file, ready for a report."""
    import tempfile
    import traceback

    text = f"cairn {__version__}, Python {sys.version}\n\n" + "".join(traceback.format_exception(error))
    try:
        handle, path = tempfile.mkstemp(prefix="cairn-bug-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        fix = f"The details are in {path}; please send them with your report."
    except OSError:
        fix = text
    return CairnError(f"Cairn has a bug: {type(error).__name__}: {error}", fix=fix)


def _detach(stream: IO[str]) -> None:
    """Nobody gets it any more; what the interpreter flushes at exit must go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
