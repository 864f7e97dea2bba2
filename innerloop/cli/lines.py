"""Tell every failure of the command in one line, with an exit status that says whose it is."""

import sys
from typing import Any, cast

import typer
from typer.core import TyperGroup

from innerloop.errors import InnerloopError, UnreadableFile

REFUSED, WRONG_USAGE = 1, 2

# The class of all wrong usage. Its module has moved between releases of typer; its child has not.
_UsageError = cast(type[typer.BadParameter], typer.BadParameter.__mro__[1])


class OneLineErrors(TyperGroup):
    """Print an error as one line on stderr: exit with 2 for wrong usage and files, with 1 for what was refused."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command; ends the process."""
        extra["standalone_mode"] = False
        try:
            status = super().main(*args, **extra)
        except InnerloopError as error:
            status = _told(error)
        except _UsageError as error:
            if message := error.format_message():  # empty where the help was shown instead
                typer.echo(f"error: {_one_line(message)}", err=True)
            status = WRONG_USAGE
        except typer.Abort:
            status = REFUSED
        sys.exit(status if isinstance(status, int) else 0)


def _told(error: InnerloopError) -> int:
    typer.echo(f"error: {_one_line(error.detail)} ({error.code})", err=True)
    for entry in error.errors:
        typer.echo(f"  {'.'.join(map(str, entry['loc']))}: {entry['msg']}", err=True)
    return WRONG_USAGE if isinstance(error, UnreadableFile) else REFUSED


def _one_line(text: str) -> str:
    return " ".join(text.split())
