"""Whether a cache is what was written."""

from dataclasses import dataclass

from bottleneck.cache.digests import Digests
from bottleneck.cache.listing import DamagedListingError, read_listing
from bottleneck.cache.mirror import fetch_shards
from bottleneck.cache.quantised import quantised_paths, read_checked
from bottleneck.cache.recipe import DamagedRecipeError, read_recipe
from bottleneck.cache.store import FeatureCache
from bottleneck.cache.survey import survey
from bottleneck.errors import BottleneckError


@dataclass(frozen=True)
class Verdict:
    """What a look at every byte found.

    Attributes
    ----------
    shards, rows : int
        How much was found to be as it was sealed.
    damages : tuple of str
        One line for each damaged file, naming it and what mends it.
    gaps : tuple of str
        One line for each recipe that lacks features of listed images: nothing is damaged, but they
        cannot be loaded before they are computed.
    """

    shards: int
    rows: int
    damages: tuple[str, ...]
    gaps: tuple[str, ...]


def verify(cache: FeatureCache) -> Verdict:
    """Check every file of a cache.

    Raises
    ------
    BottleneckError
        Something is of a newer format and cannot be judged.
    """
    damages: list[str] = []
    needed = Digests.of(())
    try:
        if listing := read_listing(cache.path):
            needed = listing.ok.digests.distinct()
    except DamagedListingError as error:
        damages.append(str(error))
    for path in quantised_paths(cache.path):
        try:
            read_checked(path)
        except BottleneckError as error:
            damages.append(str(error))
    shards = rows = 0
    gaps = []
    for folder in cache.folders:
        fetch_shards(folder)
        found = survey(folder)
        damages += found.damaged.values()
        shards, rows = shards + found.shards, rows + found.rows
        try:
            kept = read_recipe(folder).kept
        except DamagedRecipeError as error:
            damages.append(str(error))
            continue
        if lacking := int(found.lacks(needed, kept).sum()):
            gaps.append(
                f"{folder.name} lacks features of {lacking} of {len(needed)} images; "
                f"`bottleneck cache repair {cache.name}` computes them"
            )
    return Verdict(shards, rows, tuple(damages), tuple(gaps))
