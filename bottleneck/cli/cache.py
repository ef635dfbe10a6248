"""`bottleneck cache info | verify | repair | explain | prune`."""

import dataclasses
from collections import Counter
from typing import Annotated, Any

import typer

from bottleneck.cache.explain import differences, find_image, holdings
from bottleneck.cache.info import CacheInfo, describe
from bottleneck.cache.prune import prune as run_prune
from bottleneck.cache.store import FeatureCache
from bottleneck.cache.verify import verify as run_verify
from bottleneck.cli import options, terminal

app = typer.Typer(
    help="Look into a cache, check it, mend it, and make it smaller.", no_args_is_help=True
)


@app.command()
def info(cache: options.Cache, json: options.Json = False, debug: options.Debug = False) -> None:
    """Show what a cache holds."""
    found = describe(FeatureCache(cache))
    if json:
        terminal.result_json({"cache": str(cache), **_info_dict(found)})
        return
    if found.listing is None:
        terminal.result("no listing: its first extraction has not come to an end")
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
        terminal.result(
            f"{entry.recipe.id}: weights {entry.recipe.weights}, "
            f"{entry.rows:,} rows in {entry.shards:,} shards, {entry.bytes / 1e6:.1f} MB; "
            f"{entry.missing:,} images lack features, {entry.unlisted:,} rows are of unlisted images"
        )


def _info_dict(found: CacheInfo) -> dict[str, Any]:
    listing = found.listing
    return {
        "root": None if listing is None else str(listing.root),
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
    """Check every byte of a cache; exit with 1 and name what is damaged."""
    verdict = run_verify(FeatureCache(cache))
    if json:
        terminal.result_json({"cache": str(cache), **dataclasses.asdict(verdict)})
    else:
        for line in (*verdict.damages, *verdict.gaps):
            terminal.result(line)
        terminal.result(
            f"{verdict.shards:,} shards with {verdict.rows:,} rows are as they were sealed; "
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
    """Compute again what damaged shards held, and whatever else is missing."""
    # the only one of these commands that may have to run a base
    from bottleneck.extraction.repair import repair as run_repair

    with terminal.progress_bar() as progress:
        repaired = run_repair(cache, weights=weights, progress=progress)
    if json:
        terminal.result_json({"cache": str(cache), **dataclasses.asdict(repaired)})
        return
    for recipe, computed in repaired.computed.items():
        terminal.result(f"{recipe}: {computed:,} images computed again")
    if repaired.failed:
        terminal.result(f"{repaired.failed:,} images could not be: their files are gone or changed")


@app.command()
def explain(
    cache: options.Cache,
    image: Annotated[
        str | None, typer.Argument(help="Path of an image, or the beginning of its digest.")
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show what sets recipes apart, or what is known of an image and where its features lie."""
    store = FeatureCache(cache)
    rows = () if image is None else find_image(store, image)
    found = [
        {**row._asdict(), "features": [dataclasses.asdict(h) for h in holdings(store, row.digest)]}
        for row in rows
    ]
    recipes = store.recipes
    differ = differences(recipes)
    if json:
        listed = [{"id": r.id, **dataclasses.asdict(r)} for r in recipes]
        terminal.result_json(
            {"cache": str(cache), "recipes": listed, "differ_in": list(differ), "images": found}
        )
        return
    if image is None:
        for number, recipe in enumerate(recipes):
            apart = [
                f"{name} {values[number]}"
                for name, values in differ.items()
                if name != "weights_digest" or "weights" not in differ
            ]
            terminal.result(
                f"{recipe.id}: " + (", ".join(apart) or _in_full(dataclasses.asdict(recipe)))
            )
    for row, entry in zip(rows, found, strict=True):
        terminal.result(f"{row.path!r}: {row.status}{f', {row.reason}' if row.reason else ''}")
        terminal.result(
            f"  digest {row.digest or '(never read)'}, label {row.label}, split {row.split}"
        )
        counts = Counter(holding["recipe"] for holding in entry["features"])
        for recipe in recipes:
            there = "features are in " if counts[recipe.id] else "no features"
            where = ", ".join(
                f"{h['shard']} row {h['row']}"
                for h in entry["features"]
                if h["recipe"] == recipe.id
            )
            terminal.result(f"  {recipe.id}: {there}{where}")


def _in_full(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in fields.items())


@app.command()
def prune(
    cache: options.Cache,
    recipe: options.RecipeId = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Remove features of images no longer listed, or everything under a recipe."""
    pruned = run_prune(FeatureCache(cache), recipe=recipe, dry_run=dry_run)
    if json:
        terminal.result_json(
            {"cache": str(cache), "dry_run": dry_run, **dataclasses.asdict(pruned)}
        )
        return
    what = f"{pruned.rows:,} rows, {pruned.bytes / 1e6:.1f} MB"
    terminal.result(f"Would remove {what}" if dry_run else f"Removed {what}")
