"""`--figure FILE`: its form is the file's suffix, and is known before anything is computed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.errors import InputError

if TYPE_CHECKING:
    from reports.figures.style import Form

Figure = Annotated[
    Path | None, typer.Option("--figure", help="Draw the result: .png, .svg or .pdf.")
]


def figure_form(figure: Path) -> "Form":
    """The form that a file's name asks for; InputError for any but .png, .svg and .pdf."""
    found: dict[str, Form] = {".png": "png", ".svg": "svg", ".pdf": "pdf"}
    if figure.suffix.lower() not in found:
        raise InputError(f"--figure {figure}: not a figure", f"name it {', '.join(found)}")
    return found[figure.suffix.lower()]
