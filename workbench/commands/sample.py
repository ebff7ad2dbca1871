"""`workbench sample CHECKPOINT`: continue a text, or read an image."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.output import Json, emit

if TYPE_CHECKING:
    from rich.console import Console

Checkpoint = Annotated[
    Path, typer.Argument(help="A run folder, or one checkpoint in it.", metavar="CHECKPOINT")
]


def command(
    checkpoint: Checkpoint,
    prompt: Annotated[str, typer.Option(help="Text to continue.")] = "",
    image: Annotated[
        Path | None, typer.Option(help="A grey image of the model's size (PNG or .npy) to read.")
    ] = None,
    strip: Annotated[
        int | None, typer.Option(help="Number of a held-out digit strip to read, instead.")
    ] = None,
    tokens: Annotated[int, typer.Option(help="New tokens at most.", min=1)] = 48,
    temperature: Annotated[float, typer.Option(help="0: the likeliest token.", min=0.0)] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    count: Annotated[int, typer.Option(help="How many continuations.", min=1)] = 1,
    json: Json = False,
) -> None:
    """Continue a text, or read an image, with a trained model and a key-value cache."""
    from model.evaluation.sampling import sample

    found = sample(
        checkpoint,
        prompt=prompt,
        image=image,
        strip=strip,
        max_new_tokens=tokens,
        temperature=temperature,
        seed=seed,
        count=count,
    )

    def people(out: "Console") -> None:
        if found.answer is not None:
            out.print(f"written in the image: {found.answer}")
        for text in found.texts:
            out.print(f"{prompt}{text}")

    emit(found, as_json=json, people=people)
