"""`python -m app`: the service's commands."""

import typer

from app.commands.backup import backup, restore
from app.commands.calibrate import calibrate
from app.commands.evaluate import evaluate
from app.commands.keys import keys
from app.commands.serve import serve
from app.commands.train import train
from app.commands.worker import worker

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
cli.command()(serve)
cli.command()(worker)
cli.command()(train)
cli.command()(evaluate)
cli.command()(calibrate)
cli.command()(backup)
cli.command()(restore)
cli.add_typer(keys, name="keys")

if __name__ == "__main__":
    cli(prog_name="python -m app")
