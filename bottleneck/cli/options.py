"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from bottleneck.cli.terminal import set_debug

_DEBUG = typer.Option("--debug", callback=set_debug, is_eager=True, help="Show tracebacks.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Debug = Annotated[bool, _DEBUG]
Images = Annotated[
    Path,
    typer.Argument(
        metavar="IMAGES",
        help="A folder of class folders, one with train/ val/ test/ above them, a flat folder, a CSV, or one picture.",
    ),
]
Cache = Annotated[Path, typer.Argument(metavar="CACHE", help="The cache's folder.")]
RecipeId = Annotated[
    str | None,
    typer.Option("--recipe", help="Id of a recipe, or its beginning, where there are several."),
]
Root = Annotated[
    Path | None,
    typer.Option(help="For a CSV: the folder its paths start from.", show_default="where it lies"),
]
PathColumn = Annotated[str, typer.Option(help="For a CSV: the column of paths.")]
SkipMissing = Annotated[
    bool, typer.Option("--skip-missing", help="For a CSV: go on where files do not exist.")
]
MaxPixels = Annotated[
    int, typer.Option(min=1, help="Refuse pictures with more pixels (decompression bombs).")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images the base is given at once.")]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Threads that read and decode.", show_default="as many as cores"),
]
