import hashlib
import io
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bottleneck import compare
from bottleneck.cache.listing import Listing, write_listing
from bottleneck.cache.rows import Row
from bottleneck.cache.store import FeatureCache
from bottleneck.evaluate.checks import Findings
from bottleneck.evaluate.comparison import Comparison, Costs, Entry, Scores
from bottleneck.evaluate.intervals import estimate
from bottleneck.evaluate.report import write_report
from bottleneck.evaluate.report_data import Best
from bottleneck.extraction.progress import no_progress
from bottleneck.heads.data import label_codes, load_labelled
from bottleneck.heads.split import split_rows
from tests.cache.test_recipe import RECIPE
from tests.evaluate.synthetic import clusters, three_splits, write_cache

# Each would run or render as code if it were not escaped.
HOSTILE_CLASSES = (
    "<script>document.title='owned'</script>",
    "</script><img src=x onerror=\"document.title='owned'\">",
    "{{7*7}} $\\frac{x$ #010203",
)
HOSTILE_NAME = "\"><svg onload=\"document.title='owned'\">\u202etxt.\udcff\x01'.jpg"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        reason = "needs a browser; install Debian's with: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison]:
    """Real images with names that contain code; one was deleted, one was replaced."""
    folder = tmp_path_factory.mktemp("hostile")
    X, y = clusters(150, 3, apart=1.0)
    X[1] = X[0] + 0.05  # nearly the same
    rng = np.random.default_rng(0)
    names, digests = [], []
    for number in range(150):
        names.append(f"{number:03d}{HOSTILE_NAME}")
        picture = io.BytesIO()
        pixels = rng.integers(0, 255, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).save(picture, "PNG")
        (folder / names[-1]).write_bytes(picture.getvalue())
        digests.append(hashlib.sha256(picture.getvalue()).hexdigest())
    cache = write_cache(
        folder / "cache",
        X,
        [HOSTILE_CLASSES[c] for c in y],
        three_splits(150),
        digests=digests,
        paths=names,
    )
    rows = [
        Row(name, digest, HOSTILE_CLASSES[c], split)
        for name, digest, c, split in zip(names, digests, y, three_splits(150), strict=True)
    ]
    write_listing(cache, Listing(str(folder), tuple(rows)))
    test = [row for row in rows if row.split == "test"]
    (folder / test[0].path).unlink()
    Image.new("RGB", (9, 9)).save(folder / test[1].path, "PNG")
    found = compare(cache, ["logistic"], report=folder / "report.html", learning_curve=True)
    return folder / "report.html", found


@pytest.fixture
def page(browser: Any, hostile: tuple[Path, Comparison]) -> Iterator[Any]:
    """The report in a browser; any console message or network request fails the test."""
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    shown = context.new_page()
    complaints: list[str] = []
    shown.on("console", lambda message: complaints.append(message.text))
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.on(
        "request",
        lambda request: (
            None
            if request.url.startswith("data:image/") or request.url == hostile[0].as_uri()
            else complaints.append(request.url)
        ),
    )
    shown.goto(hostile[0].as_uri())
    yield shown
    assert complaints == []
    assert "owned" not in shown.title()
    context.close()


def cells(page: Any, table: str, column: int) -> list[str]:
    found = page.locator(f"{table} tbody tr > :nth-child({column})").all_inner_texts()
    return [text.split("\n")[0].strip() for text in found]


def test_hostile_names_are_shown_as_text(page: Any, hostile: tuple[Path, Comparison]) -> None:
    assert cells(page, "#classes table", 1) == sorted(HOSTILE_CLASSES)
    shown = page.locator("main").inner_text()
    for name in HOSTILE_CLASSES:
        assert name in shown
    # ours, and none that a name brought along
    assert page.locator("script").count() == 2
    assert page.locator("main [onload], main [onerror], main img[src=x]").count() == 0
    assert page.locator("svg text", has_text="{{7*7}} $\\f").count() > 0
    source = hostile[0].read_text(encoding="utf-8")
    assert source.count("</script>") == 2
    assert HOSTILE_NAME not in source


def test_an_injected_script_does_not_run(
    browser: Any, tmp_path: Path, hostile: tuple[Path, Comparison]
) -> None:
    """The page allows only the script whose digest it names, and only embedded images."""
    source = hostile[0].read_text(encoding="utf-8")
    smuggled = "<script>document.title='owned'</script><img src='http://127.0.0.1:9/x.png'>"
    (tmp_path / "r.html").write_text(source.replace("<main>", f"<main>{smuggled}"), "utf-8")
    shown = browser.new_page()
    failed: list[str] = []
    shown.on("requestfailed", lambda request: failed.append(request.failure))
    shown.goto((tmp_path / "r.html").as_uri())
    assert shown.title().startswith("Comparison of heads")
    assert failed == ["csp"]
    shown.close()


def test_tables_are_sorted_by_a_click_and_by_the_keyboard(page: Any) -> None:
    recall = page.locator("#classes th", has_text="recall")
    button = recall.locator("button")
    button.click()
    values = [float(text) for text in cells(page, "#classes table", 4)]
    assert values == sorted(values)
    assert recall.get_attribute("aria-sort") == "ascending"
    button.focus()
    page.keyboard.press("Enter")
    assert [float(text) for text in cells(page, "#classes table", 4)] == values[::-1]
    assert recall.get_attribute("aria-sort") == "descending"
    page.locator("#classes th button").first.click()
    upwards = cells(page, "#classes table", 1)
    page.locator("#classes th button").first.click()
    assert cells(page, "#classes table", 1) == upwards[::-1]
    assert set(upwards) == set(HOSTILE_CLASSES)


def test_a_point_of_the_map_shows_its_image_and_name_as_text(page: Any) -> None:
    tip, points = page.locator("#tip"), page.locator("#points use[data-i]")
    assert points.count() == 30
    assert tip.is_hidden()
    page.locator("#points").scroll_into_view_if_needed()
    # scrolling hides the tip, in the frame that follows
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    seen = []
    for number in range(points.count()):
        box = points.nth(number).bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert tip.is_visible()
        seen.append(tip.inner_text())
    assert all("onload=\"document.title='owned'\"" in text for text in seen)
    # of the file that vanished, and of the one that was replaced
    assert sum("the file is missing or has changed" in text for text in seen) == 2
    picture = "document.querySelector('#tip img').naturalWidth"
    assert page.evaluate(picture) > 0
    page.mouse.move(5, 5)
    assert tip.is_hidden()


def test_arrow_keys_move_on_the_map_and_one_class_can_be_selected(page: Any) -> None:
    page.locator("#points").focus()
    texts = set()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        texts.add(page.locator("#tip").inner_text())
    assert len(texts) >= 3
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    page.locator("#only").select_option("1")
    others = page.locator("#points use[data-i]:not([data-class='1'])").count()
    assert page.locator("#points use.dim").count() == others > 10
    page.locator("#points").focus()
    page.keyboard.press("ArrowRight")
    assert sorted(HOSTILE_CLASSES)[1] in page.locator("#tip").inner_text()


def test_pointing_at_a_cell_of_the_confusion_matrix_shows_its_count(page: Any) -> None:
    matrix = page.locator("#matrix")
    matrix.scroll_into_view_if_needed()
    box = matrix.bounding_box()
    left, top, right, bottom = map(float, matrix.get_attribute("data-box").split(","))
    names, counts = page.evaluate("[data.classes, data.counts]")
    for row in range(3):
        for column in range(3):
            x = left + (column + 0.5) * (right - left) / 3
            y = top + (row + 0.5) * (bottom - top) / 3
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            expected = f"{counts[row][column]} labelled {names[row]}\npredicted {names[column]}"
            assert page.locator("#tip").inner_text() == expected
    assert sum(map(sum, counts)) == 30


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_on_a_phone_in_light_and_dark_mode(
    browser: Any, hostile: tuple[Path, Comparison], scheme: str
) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    shown = context.new_page()
    shown.goto(hostile[0].as_uri())
    assert shown.evaluate("document.documentElement.scrollWidth") == 360
    style = "getComputedStyle(document.querySelector('{}')).{}"
    paper = luminance(shown.evaluate(style.format("body", "backgroundColor")))
    assert (paper < 0.1) == (scheme == "dark")
    for what, colour in [
        ("body", "color"),
        (".lead", "color"),
        ("nav a", "color"),
        ("td small", "color"),
        (".warnings li", "color"),
        ("#calibration svg text", "fill"),
        ("#matrix svg text", "fill"),
    ]:
        ink = luminance(shown.evaluate(style.format(what, colour)))
        light, dark = max(ink, paper), min(ink, paper)
        # Web Content Accessibility Guidelines 2.2, 1.4.3
        assert (light + 0.05) / (dark + 0.05) >= 4.5, what
    letters = shown.locator("#calibration svg text").first.bounding_box()
    assert letters["height"] > 9
    context.close()


def luminance(colour: str) -> float:
    """Relative luminance as the Web Content Accessibility Guidelines define it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_the_leaderboard_shows_values_and_intervals(
    page: Any, hostile: tuple[Path, Comparison]
) -> None:
    _, found = hostile
    row = page.locator("#leaderboard tbody tr").first.inner_text()
    accuracy = found.best.scores["test"].figures["accuracy"]
    assert f"{100 * accuracy.value:.1f}" in row
    assert f"{100 * accuracy.low:.1f}–{100 * accuracy.high:.1f}" in row
    for line in found.words[:1]:
        assert line in page.locator("main").inner_text()
    assert page.locator("#suspects").get_by_text("train, train").count() <= 1


def test_many_classes_and_images_are_sampled_and_the_page_says_so(
    browser: Any, tmp_path: Path
) -> None:
    X, y = clusters(4000, 100, apart=3.0)
    labels = [f"class number {c:03d}" for c in y]
    splits = ["train" if n % 4 < 2 else "val" for n in np.random.default_rng(0).permutation(4000)]
    store = FeatureCache(write_cache(tmp_path / "c", X, labels, splits))
    split = split_rows(store.listing.ok, 0)
    classes = store.listing.classes
    codes = label_codes(split.parts["val"], classes)
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(100), len(codes)).astype(np.float32)
    p[np.arange(len(codes)), codes] += 0.1 * rng.random(len(codes), np.float32)
    p /= p.sum(axis=1, keepdims=True)
    scores = {"val": Scores(estimate(codes, [p], 5, 0)[0], None, None)}
    found = Comparison(
        entries=(Entry("x", "x", "c", (RECIPE.id,), {}, scores, Costs(1.0, 1.0, 1000), ""),),
        images={name: len(part) for name, part in split.parts.items()},
        left_out={},
        classes=classes,
        top_k=5,
        split=split.kind,
        seed=0,
        findings=Findings((), (), ()),
    )
    best = Best(load_labelled(store.path, [RECIPE], split, 1), {"val": p}, "squash")
    file = tmp_path / "r.html"
    write_report(file, found, best, str(tmp_path), no_progress)
    assert file.stat().st_size < 500_000
    shown = browser.new_page(viewport={"width": 360, "height": 740})
    shown.goto(file.as_uri())
    assert "A random sample of 600 of 2,000 images." in shown.locator("#map").inner_text()
    assert "The 24 most confident of" in shown.locator("#mistakes").inner_text()
    assert shown.locator("#classes tbody tr").count() == 100
    assert shown.evaluate("document.documentElement.scrollWidth") == 360
    shown.close()


def test_a_report_of_very_few_images_is_written(few_cache: Path, tmp_path: Path) -> None:
    compare(few_cache, ["logistic"], report=tmp_path / "r.html")
    assert "There are too few images for a map." in (tmp_path / "r.html").read_text("utf-8")
