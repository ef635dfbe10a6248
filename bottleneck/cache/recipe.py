"""Everything that determines a feature."""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from bottleneck.cache.atomic import read_regular, write_atomically
from bottleneck.cache.schema import Check, FileName, between, build, read_json
from bottleneck.errors import BottleneckError

FILE_NAME = "recipe.json"
FORMAT = "bottleneck-recipe"
VERSION = 1

Dtype = Literal["float32", "float16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)

Precision = Literal["float32", "bfloat16", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

# where a cache keeps what stands for the weights of int8 recipes
QUANTISED = "quantised"

# the augmentation of recipes that have none
PLAIN = "none"


# Views of an image that can be told apart: their numbers are kept in 16 bits.
MAX_VIEWS = 2**16

# Pixels along a side. Eight times the largest input of any base in the registry, and a batch still fits into memory.
_MAX_SIZE = 2**13


# Bytes of the longest parts of an id, which is the name of a folder.
_PART_BYTES = 100
_IdPart = Annotated[
    FileName,
    Check(f"at most {_PART_BYTES} bytes", lambda text: len(os.fsencode(text)) <= _PART_BYTES),
]


class DamagedRecipeError(BottleneckError):
    """A ``recipe.json`` is missing or not as it was written."""


@dataclass(frozen=True)
class Recipe:
    """What determines a feature, besides the picture and the view.

    Attributes
    ----------
    base, tap, pool : str
        The network, the layer kept, and how its map becomes a vector.
    weights : str
        For people: ``imagenet``, ``random-SEED`` or the name of a file. Not part of the identity.
    weights_digest : str
        SHA-256 of the tensors, in hexadecimal. Part of the identity, whatever file they came from. Where
        the precision is int8, that of the quantised graph, see `bottleneck.cache.quantised`.
    image_size : int
        Side of the square shown to the base, in pixels.
    fit, decoder : str
        How a picture becomes that square: ``squash`` or ``crop``, and the decoding and resizing.
    precision, dtype : str
        What the base computes in and what is stored.
    augmentation : str
        How its views are made, see `bottleneck.images.augment`. View 0, the plain picture, is the same
        whatever the augmentation, and belongs to the recipe where this is ``none``.

    Examples
    --------
    >>> recipe = Recipe("inception_v3", "mixed10", "avg", "random-0", "00" * 32, 299, "squash", "d")
    >>> recipe.id
    'inception_v3-mixed10-avg-299-8d9749c5'
    >>> dataclasses.replace(recipe, weights="same-tensors.h5").id == recipe.id
    True
    >>> dataclasses.replace(recipe, augmentation="flip").id
    'inception_v3-mixed10-avg-299-augmented-be340100'
    """

    base: _IdPart
    tap: _IdPart
    pool: Literal["avg", "max", "none"]
    weights: FileName = dataclasses.field(compare=False)
    weights_digest: str
    image_size: Annotated[int, between(1, _MAX_SIZE)]
    fit: Literal["squash", "crop"]
    decoder: str
    precision: Precision = "float32"
    dtype: Dtype = "float32"
    augmentation: str = PLAIN

    @property
    def id(self) -> str:
        """A readable prefix and a hash of everything that determines a feature."""
        identity = dataclasses.asdict(self)
        del identity["weights"]
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        augmented = "" if self.augmentation == PLAIN else "-augmented"
        # 8 digits: a cache holds a handful of recipes, and a folder's recipe.json is compared anyway
        return f"{self.base}-{self.tap}-{self.pool}-{self.image_size}{augmented}-{digest[:8]}"

    def of_view(self, view: int) -> "Recipe":
        """The recipe a view's features are kept under: itself, or the plain one for view 0."""
        return self if view else dataclasses.replace(self, augmentation=PLAIN)

    def kept(self, views: int) -> range:
        """The views kept under this recipe, where so many are wanted besides the plain one."""
        return range(1) if self.augmentation == PLAIN else range(1, views + 1)

    @property
    def random(self) -> bool:
        """Whether the weights were never trained."""
        return self.weights.startswith("random-")

    def to_json(self) -> str:
        """The recipe as one JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Recipe":
        """Rebuild a recipe from its JSON object.

        Raises
        ------
        SchemaError
            Fields are missing, unknown or of another type, or would lead out of the recipe's folder.
        """
        return build(cls, fields)


@dataclass(frozen=True)
class RecipeFile:
    """A recipe as a cache keeps it.

    Attributes
    ----------
    recipe : Recipe
    weights_path : str
        What to give to ``--weights`` to have these weights again; the file of a quantised graph lies in the
        cache, wherever that is.
    fingerprints : tuple of str
        Sources known to hold these weights, so that they need not be loaded to be recognised.
    views : int
        How many views of each image were asked for besides the plain one.
    """

    recipe: Recipe
    weights_path: str
    fingerprints: tuple[str, ...]
    views: int = 0

    @property
    def kept(self) -> range:
        """The views whose features are kept under this recipe."""
        return self.recipe.kept(self.views)


@dataclass(frozen=True)
class _Content:
    """The fields of ``recipe.json``."""

    format: Literal["bottleneck-recipe"]
    version: int
    id: str
    recipe: Recipe
    weights_path: str
    fingerprints: tuple[str, ...]
    views: Annotated[int, between(0, MAX_VIEWS - 1)] = 0


def write_recipe(folder: Path, entry: RecipeFile) -> None:
    """Write ``recipe.json`` into a recipe's folder."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "id": entry.recipe.id,
        "recipe": dataclasses.asdict(entry.recipe),
        "weights_path": entry.weights_path,
        "fingerprints": list(entry.fingerprints),
        "views": entry.views,
    }
    write_atomically(folder / FILE_NAME, (json.dumps(content, indent=2) + "\n").encode())


def read_recipe(folder: Path) -> RecipeFile:
    """Read ``recipe.json`` and check that the folder bears its name.

    Raises
    ------
    DamagedRecipeError
        It is missing, damaged, or not the recipe of this folder.
    BottleneckError
        It is of a newer format.
    """
    file = folder / FILE_NAME
    try:
        fields = read_json(read_regular(file))
        refuse_newer(file, fields, VERSION)
        content = build(_Content, fields)
        recipe = content.recipe
        entry = RecipeFile(
            recipe,
            weights_path(folder, recipe) or content.weights_path,
            content.fingerprints,
            content.views,
        )
    except (OSError, ValueError) as error:
        raise DamagedRecipeError(
            f"{file} is damaged or missing ({error}); `bottleneck extract` with the options it was made with "
            f"writes it again"
        ) from error
    if recipe.id != folder.name:
        raise DamagedRecipeError(
            f"{file} was changed: it describes {recipe.id} and lies in {folder.name}; `bottleneck extract` with "
            f"the options it was made with writes it again"
        )
    return entry


def weights_path(folder: Path, recipe: Recipe) -> str | None:
    """Tell where the weights of a recipe are, if that follows from where its folder is."""
    if recipe.precision != "int8":
        return None
    return str(folder.parents[1].absolute() / QUANTISED / recipe.weights)


def recipe_folders(cache: Path) -> list[Path]:
    """The folders of a cache's recipes, sorted by name."""
    return sorted((cache / "features").glob("*/"))


def refuse_newer(file: Path, found: Any, known: int) -> None:
    """Refuse a file written by a later version of the format.

    Parameters
    ----------
    file : Path
    found : int or dict
        The version, or the object that has it as ``version``.
    known : int

    Raises
    ------
    BottleneckError
        `found` is above `known`.
    SchemaError
        `found` is no version.
    """
    if isinstance(found, dict):
        found = found.get("version")
    found = build(int, found, "version")
    if found > known:
        raise BottleneckError(
            f"{file} has format version {found} and this bottleneck reads up to {known}; "
            "upgrade it with: pip install --upgrade bottleneck-features"
        )
