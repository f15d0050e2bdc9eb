"""Options that take one name of a table: the name arrives as it is, any other lists them all."""

from typing import Annotated

import typer
from typer.testing import CliRunner

from likeness.cli.choices import choice

TABLE = {"square": "shapes:square", "two-words": "shapes:other"}
app = typer.Typer()


@app.command()
def draw(shape: Annotated[str, choice(TABLE, help="What to draw.")] = "square") -> None:
    typer.echo(f"drawn: {shape}")


def test_a_name_of_the_table_arrives() -> None:
    assert CliRunner().invoke(app, []).stdout == "drawn: square\n"
    assert CliRunner().invoke(app, ["--shape", "two-words"]).stdout == "drawn: two-words\n"


def test_any_other_ends_with_2_and_lists_them() -> None:
    for wrong in ("circle", "Square", ""):
        result = CliRunner().invoke(app, ["--shape", wrong])
        assert result.exit_code == 2
        said = " ".join(result.stderr.replace("│", " ").split())
        assert f"Invalid value for '--shape': '{wrong}' is not one of 'square', 'two-words'." in said


def test_help_shows_them() -> None:
    assert "<square|two-words>" in CliRunner().invoke(app, ["--help"]).stdout
