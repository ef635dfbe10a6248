"""`bottleneck cache info | verify | repair | explain | prune`."""

import dataclasses
from typing import Annotated, Any

import typer

from bottleneck.cache.explain import differences, find_image, holdings
from bottleneck.cache.info import CacheInfo, describe
from bottleneck.cache.prune import prune as run_prune
from bottleneck.cache.store import FeatureCache
from bottleneck.cache.verify import verify as run_verify
from bottleneck.cli import options, terminal
from bottleneck.cli.bars import progress_bar

app = typer.Typer(help="Inspect, verify, repair and prune a cache.", no_args_is_help=True)


@app.command()
def info(cache: options.Cache, json: options.Json = False, debug: options.Debug = False) -> None:
    """Show what a cache holds."""
    found = describe(FeatureCache(cache))
    if json:
        terminal.result_json({"cache": str(cache), **_info_dict(found)})
        return
    if found.listing is None:
        terminal.result("no listing: the first extraction has not finished")
    else:
        ok, failed = found.listing.ok, found.listing.failed
        terminal.result(
            f"{len(ok) + len(failed):,} images of {found.listing.root}: "
            f"{len(ok):,} ok, {len(failed):,} failed"
        )
        for name, counts in (("classes", found.classes), ("splits", found.splits)):
            if counts:
                terminal.result(f"  {name}: " + ", ".join(f"{k} {n:,}" for k, n in counts.items()))
        for row in failed:
            terminal.result(f"  failed: {row.path!r}: {row.reason}")
    for entry in found.recipes:
        views = f" of {entry.views} views" if entry.views else ""
        terminal.result(
            f"{entry.recipe.id}: weights {entry.recipe.weights}, "
            f"{entry.rows:,} rows{views} in {entry.shards:,} shards, {entry.bytes / 1e6:.1f} MB; "
            f"{entry.missing:,} images without features, {entry.unlisted:,} orphaned rows"
        )


def _info_dict(found: CacheInfo) -> dict[str, Any]:
    listing = found.listing
    return {
        "root": None if listing is None else listing.root,
        "images": 0 if listing is None else len(listing.rows),
        "ok": 0 if listing is None else len(listing.ok),
        "failed": []
        if listing is None
        else [{"path": r.path, "reason": r.reason} for r in listing.failed],
        "classes": found.classes,
        "splits": found.splits,
        "recipes": [{"id": e.recipe.id, **dataclasses.asdict(e)} for e in found.recipes],
    }


@app.command()
def verify(cache: options.Cache, json: options.Json = False, debug: options.Debug = False) -> None:
    """Check every byte of a cache; list damaged files and exit with 1 if there are any."""
    verdict = run_verify(FeatureCache(cache))
    if json:
        terminal.result_json({"cache": str(cache), **dataclasses.asdict(verdict)})
    else:
        for line in (*verdict.damages, *verdict.gaps):
            terminal.result(line)
        terminal.result(
            f"{verdict.shards:,} shards with {verdict.rows:,} rows are intact; "
            f"{len(verdict.damages)} files are damaged"
        )
    if verdict.damages:
        raise typer.Exit(1)


@app.command()
def repair(
    cache: options.Cache,
    weights: options.WeightsNow = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Recompute the features of damaged shards and all missing ones."""
    # imported here: the only one of these commands that may run a base
    from bottleneck.extraction.repair import repair as run_repair

    with progress_bar() as progress:
        repaired = run_repair(cache, weights=weights, progress=progress)
    if json:
        terminal.result_json({"cache": str(cache), **dataclasses.asdict(repaired)})
        return
    for recipe, computed in repaired.computed.items():
        terminal.result(f"{recipe}: {computed:,} images recomputed")
    if repaired.failed:
        terminal.result(
            f"{repaired.failed:,} images could not be recomputed: their files are gone or have changed"
        )


@app.command()
def explain(
    cache: options.Cache,
    image: Annotated[
        str | None, typer.Argument(help="Path of an image, or the beginning of its digest.")
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show how recipes differ, or an image's entry in the listing and where its features are."""
    store = FeatureCache(cache)
    recipes = store.recipes
    differ = differences(recipes)
    rows = () if image is None else find_image(store, image)
    found = [(row, holdings(store, row.digest)) for row in rows]
    if json:
        content = {
            "cache": str(cache),
            "recipes": [{"id": r.id, **dataclasses.asdict(r)} for r in recipes],
            "differ_in": list(differ),
            "images": [
                {**row._asdict(), "features": [dataclasses.asdict(held) for held in holders]}
                for row, holders in found
            ],
        }
        terminal.result_json(content)
    elif image is None:
        for number, recipe in enumerate(recipes):
            apart = {name: values[number] for name, values in differ.items()}
            fields = apart or dataclasses.asdict(recipe)
            shown = ", ".join(f"{name} {value}" for name, value in fields.items())
            terminal.result(f"{recipe.id}: {shown}")
    else:
        for row, holders in found:
            terminal.result(f"{row.path!r}: {row.status} {row.reason}".rstrip())
            terminal.result(f"  digest {row.digest or '(never read)'}")
            terminal.result(f"  label {row.label}, split {row.split}")
            for recipe in recipes:
                at = [f"{p.shard} row {p.row}" for p in holders if p.recipe == recipe.id]
                terminal.result(f"  {recipe.id}: {', '.join(at) or 'no features'}")


@app.command()
def prune(
    cache: options.Cache,
    recipe: options.RecipeId = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be removed.")
    ] = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Remove features of images that are no longer listed, or all features of a recipe."""
    pruned = run_prune(FeatureCache(cache), recipe=recipe, dry_run=dry_run)
    if json:
        terminal.result_json(
            {"cache": str(cache), "dry_run": dry_run, **dataclasses.asdict(pruned)}
        )
        return
    what = f"{pruned.rows:,} rows, {pruned.bytes / 1e6:.1f} MB"
    terminal.result(f"Would remove {what}" if dry_run else f"Removed {what}")
