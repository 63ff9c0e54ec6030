"""The `kalitka` command: one door to the technician's tools, the virtual reader and the hub."""

import typer

from kalitka_hub.cli import hub

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
app.add_typer(hub, name="hub")


@app.command()
def demo() -> None:
    """Show the reader's whole job: a hub, three virtual readers, every decision checked."""
    from kalitka_cli import demo as play  # noqa: PLC0415 - its imports are slow

    raise typer.Exit(play.run())


@app.command()
def bench() -> None:
    """Measure the rule table beside a plain client, and write build/bench.md."""
    from bench import table_bench  # noqa: PLC0415

    raise typer.Exit(table_bench.run())


def main() -> None:
    """Run the command line."""
    app()
