import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.cache.digests import Digests
from bottleneck.cache.recipe import PLAIN
from bottleneck.cache.rows import UNREAD, Row
from bottleneck.extraction.plan import Target, missing_items, plan_tasks, rows_per_task
from tests.cache.test_recipe import RECIPE

SOME = [letter * 64 for letter in "abcde0"]
ROWS = st.lists(
    st.builds(
        Row,
        path=st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1),
        digest=st.sampled_from(SOME),
        status=st.just("ok"),
        size=st.just(7),
        mtime_ns=st.just(7),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(rows=ROWS, held=st.sets(st.sampled_from(SOME)))
def test_each_missing_image_is_planned_once_with_all_its_paths(
    rows: list[Row], held: set[str]
) -> None:
    items = missing_items(rows, [Target(RECIPE, range(1), {0: Digests.of(held)})])
    assert {item.digest for item in items} == {row.digest for row in rows} - held
    assert len({item.digest for item in items}) == len(items)
    for item in items:
        assert list(item.paths) == [row.path for row in rows if row.digest == item.digest]


def test_each_file_that_is_unread_is_planned_by_itself_where_it_stands() -> None:
    rows = [Row("a", SOME[0]), Row("b", status=UNREAD), Row("c", SOME[1]), Row("d", status=UNREAD)]
    items = missing_items(rows, [Target(RECIPE, range(1), {0: Digests.of([SOME[1]])})])
    assert [(item.digest, item.paths) for item in items] == [
        (SOME[0], ("a",)),
        ("", ("b",)),
        ("", ("d",)),
    ]


@settings(deadline=None)
@given(rows=ROWS, plain=st.sets(st.sampled_from(SOME)), views=st.integers(0, 4), data=st.data())
def test_views_are_planned_where_any_recipe_lacks_them(
    rows: list[Row], plain: set[str], views: int, data: st.DataObject
) -> None:
    held = {v: data.draw(st.sets(st.sampled_from(SOME))) for v in range(1, views + 1)}
    flipped = dataclasses.replace(RECIPE, augmentation="flip")
    assert (flipped.of_view(0), flipped.of_view(1)) == (RECIPE, flipped)
    assert RECIPE.augmentation == PLAIN
    targets = [
        Target(RECIPE, range(1), {0: Digests.of(plain)}),
        Target(
            flipped, flipped.kept(views), {view: Digests.of(some) for view, some in held.items()}
        ),
    ]
    planned = {(item.digest, view) for item in missing_items(rows, targets) for view in item.views}
    assert planned == {
        (row.digest, view)
        for row in rows
        for view in range(views + 1)
        if row.digest not in {0: plain, **held}[view]
    }


@settings(deadline=None)
@given(rows=ROWS, size=st.integers(1, 10))
def test_tasks_hold_every_image_in_order_and_no_more_than_asked(rows: list[Row], size: int) -> None:
    items = missing_items(rows, [Target(RECIPE, range(1), {})])
    tasks = plan_tasks(items, size)
    assert [item for task in tasks for item in task.items] == list(items)
    assert items.total == sum(len(item.views) for item in items)
    assert all(0 < len(task.items) <= size for task in tasks)


@given(width=st.integers(1, 10**9), batch=st.integers(1, 512))
def test_a_task_is_whole_batches_and_at_least_one(width: int, batch: int) -> None:
    rows = rows_per_task(width, batch)
    assert rows >= batch
    assert rows % batch == 0
