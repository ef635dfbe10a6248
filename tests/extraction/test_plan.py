from hypothesis import given
from hypothesis import strategies as st

from bottleneck.cache.listing import Row
from bottleneck.extraction.conveyor import rows_per_task
from bottleneck.extraction.plan import missing_items, plan_tasks

ROWS = st.lists(
    st.builds(Row, path=st.text(min_size=1), digest=st.sampled_from("abcdef")), max_size=30
)


@given(rows=ROWS, held=st.sets(st.sampled_from("abcdef")))
def test_each_missing_image_is_planned_once_with_all_its_paths(
    rows: list[Row], held: set[str]
) -> None:
    items = missing_items(rows, held)
    assert {item.digest for item in items} == {row.digest for row in rows} - held
    assert len({item.digest for item in items}) == len(items)
    for item in items:
        assert list(item.paths) == [row.path for row in rows if row.digest == item.digest]


@given(rows=ROWS, size=st.integers(1, 10))
def test_tasks_hold_every_image_in_order_and_no_more_than_asked(rows: list[Row], size: int) -> None:
    items = missing_items(rows, held=())
    tasks = plan_tasks(items, size)
    assert [item for task in tasks for item in task.items] == items
    assert all(0 < len(task.items) <= size for task in tasks)


@given(width=st.integers(1, 10**9), batch=st.integers(1, 512))
def test_a_task_is_whole_batches_and_at_least_one(width: int, batch: int) -> None:
    rows = rows_per_task((width,), batch)
    assert rows >= batch
    assert rows % batch == 0
