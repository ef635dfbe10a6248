"""Folders as people have them: read as their owner means, or refused in one line with both readings."""

import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottleneck.errors import BottleneckError
from bottleneck.images.layout import LayoutOptions, recognise_layout
from bottleneck.images.source import ImageSet, read_source
from tests.images.test_source import plant

steady = settings(derandomize=True, deadline=None, database=None, max_examples=200)


def layout_of(*paths: str, **options: object) -> dict[str, tuple[str | None, str | None]]:
    counts = dict.fromkeys((path.rpartition("/")[0] for path in paths), 1)
    return recognise_layout("SET", counts, LayoutOptions(**options)).targets


def notes_of(images: ImageSet) -> str:
    return "\n".join(images.notes)


def refusal(top: Path, **options: object) -> str:
    with pytest.raises(BottleneckError) as caught:
        read_source(top, layout=LayoutOptions(**options))
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# --- splits


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("TRAIN", "Eval"),
        ("trainset", "testset"),
        ("images_train", "images_test"),
        ("train2017", "val2017"),
        ("seg_train", "seg_dev"),
    ],
)
@pytest.mark.parametrize("outer", ["", "brain/", "brain/brain/"])
def test_split_folders_are_known_by_their_usual_names_and_below_wrappers(
    train: str, test: str, outer: str
) -> None:
    found = layout_of(
        *(f"{outer}{split}/{name}/1.png" for split in (train, test) for name in ("cat", "dog"))
    )
    second = "val" if test in {"val2017", "seg_dev"} else "test"
    assert list(found.values()) == [
        ("cat", "train"),
        ("dog", "train"),
        ("cat", second),
        ("dog", second),
    ]


def test_split_folders_in_a_zip_file_are_known(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "brain.zip", "w") as archive:
        for name in ("Training/glioma", "Training/none", "Testing/glioma", "__MACOSX/Training"):
            archive.writestr(f"{name}/1.jpg", b"x")
    files = read_source(tmp_path / "brain.zip").files
    assert [(file.label, file.split) for file in files] == [
        ("glioma", "train"),
        ("none", "train"),
        ("glioma", "test"),
    ]


def test_split_folders_that_wrap_themselves_are_one_and_those_to_predict_have_no_label() -> None:
    found = layout_of(
        "seg_train/seg_train/sea/1.jpg",
        "seg_train/seg_train/street/2.jpg",
        "seg_test/seg_test/sea/3.jpg",
        "seg_pred/seg_pred/4.jpg",
    )
    assert list(found.values()) == [
        ("sea", "train"),
        ("street", "train"),
        ("sea", "test"),
        (None, None),
    ]


def test_a_folder_of_images_in_one_split_only_is_no_class() -> None:
    found = layout_of("train/cat/1.png", "train/dog/2.png", "test/images/3.png")
    assert found["test/images"] == (None, "test")
    assert found["train/cat"] == ("cat", "train")


def test_a_numbered_test_folder_of_unlabelled_images_is_no_class() -> None:
    found = layout_of("train/train/1.jpg", "test1/test1/2.jpg")
    assert list(found.values()) == [(None, "train"), (None, "test")]


def test_split_folders_below_class_folders_are_splits() -> None:
    found = layout_of("cat/train/1.png", "cat/test/2.png", "dog/train/3.png", "dog/test/4.png")
    assert list(found.values()) == [
        ("cat", "train"),
        ("cat", "test"),
        ("dog", "train"),
        ("dog", "test"),
    ]


def test_splits_beside_other_folders_are_read_as_the_option_says(tmp_path: Path) -> None:
    plant(tmp_path, "train/cat/1.png", "train/dog/2.png", "extra/cat/3.png")
    message = refusal(tmp_path)
    assert "--splits folders" in message
    assert "--splits none" in message
    paths = ("train/cat/1.png", "extra/cat/3.png")
    assert layout_of(*paths, splits="folders")["extra/cat"] == ("cat", None)
    assert layout_of(*paths, splits="none")["extra/cat"] == ("extra", None)
    assert "named as a split" in refusal(plant(tmp_path / "two", "a/1.png"), splits="folders")


def test_a_folder_of_icons_beside_splits_is_part_of_no_split(tmp_path: Path) -> None:
    paths = ("Train/0/1.png", "Train/1/2.png", "Test/3.png", "Meta/0.png")
    assert "split folders (Test, Train) with others (Meta)" in refusal(plant(tmp_path, *paths))
    assert list(layout_of(*paths, splits="folders").values()) == [
        ("0", "train"),
        ("1", "train"),
        (None, "test"),
        (None, None),
    ]


# --- wrappers, junk


@pytest.mark.parametrize("outer", ["flowers", "flowers/flowers", "archive/data/flowers"])
def test_folders_that_wrap_all_others_are_looked_through(outer: str) -> None:
    found = layout_of(f"{outer}/daisy/1.png", f"{outer}/rose/2.png")
    assert [label for label, _ in found.values()] == ["daisy", "rose"]


def test_a_lone_class_folder_is_a_class_and_a_lone_folder_of_images_is_none() -> None:
    assert layout_of("cat/1.png") == {"cat": ("cat", None)}
    assert layout_of("images/1.png") == {"images": (None, None)}
    assert layout_of("images/1.png", "masks/1.png")["images"] == ("images", None)


def test_what_systems_add_is_left_out(tmp_path: Path) -> None:
    plant(tmp_path, "pets/Cat/1.jpg", "pets/Dog/2.jpg", "pets/Cat/Thumbs.db", "desktop.ini")
    plant(tmp_path, "__MACOSX/pets/1.jpg", "pets/Cat/@eaDir/1.jpg", ".ipynb_checkpoints/1.jpg")
    images = read_source(tmp_path)
    assert [(file.path, file.label) for file in images.files] == [
        ("pets/Cat/1.jpg", "Cat"),
        ("pets/Dog/2.jpg", "Dog"),
    ]
    assert images.ignored == ()


# --- depth


def test_class_folders_below_class_folders_are_two_readings(tmp_path: Path) -> None:
    paths = ("Animalia/Aves/Corvus/1.png", "Animalia/Aves/Pica/2.png", "Plantae/Rosa/3.png")
    message = refusal(plant(tmp_path, *paths))
    assert "Animalia, Plantae (--classes-at 1)" in message
    assert "Corvus, Pica, Rosa (--classes-at -1)" in message
    assert [label for label, _ in layout_of(*paths, classes_at=1).values()] == [
        "Animalia",
        "Animalia",
        "Plantae",
    ]
    assert [label for label, _ in layout_of(*paths, classes_at=-1).values()] == [
        "Corvus",
        "Pica",
        "Rosa",
    ]
    assert "expected 1 to 3" in refusal(tmp_path, classes_at=9)
    assert "--classes-at 0" in refusal(tmp_path, classes_at=0)


def test_folders_with_the_same_folders_below_are_two_readings(tmp_path: Path) -> None:
    message = refusal(plant(tmp_path, "a/cat/1.png", "a/dog/2.png", "b/cat/3.png", "b/dog/4.png"))
    assert "a, b (--classes-at 1)" in message
    assert "cat, dog (--classes-at -1)" in message


def test_the_depth_of_classes_leaves_splits_above_them() -> None:
    paths = ("x/train/a/cat/1.png", "x/test/b/dog/2.png")
    assert list(layout_of(*paths, classes_at=4).values()) == [("cat", "train"), ("dog", "test")]
    assert list(layout_of(*paths, classes_at=-1, splits="none").values()) == [
        ("cat", None),
        ("dog", None),
    ]


def test_folders_below_class_folders_are_reported(tmp_path: Path) -> None:
    images = read_source(plant(tmp_path, "cat/1.png", "dog/husky/2.png", "dog/poodle/3.png"))
    assert images.classes == ("cat", "dog")
    assert "not read as classes: dog/husky, dog/poodle; --classes-at -1" in notes_of(images)


def test_loose_images_above_class_folders_are_reported(tmp_path: Path) -> None:
    images = read_source(plant(tmp_path, "cat/1.png", "dog/2.png", "loose.png"))
    assert [file.label for file in images.files] == ["cat", "dog", None]
    assert (
        "No label for 1 of 3 images, which lie in no class folder: the source itself"
        in notes_of(images)
    )


def test_classes_that_train_lacks_are_reported(tmp_path: Path) -> None:
    images = read_source(plant(tmp_path, "train/cat/1.png", "train/dog/2.png", "val/fox/3.png"))
    assert "Classes that train lacks: fox" in notes_of(images)


# --- spelling


def test_class_folders_that_differ_in_spelling_only_are_one_class(tmp_path: Path) -> None:
    plant(tmp_path, "train/daisy/1.png", "train/daisy/2.png", "val/Daisy/3.png")
    plant(tmp_path, "train/caf\u00e9 au lait/1.png", "val/cafe\u0301 au  lait/2.png")
    images = read_source(tmp_path)
    assert len(images.classes) == 2
    assert "daisy" in images.classes
    assert "'Daisy', 'daisy' differ only in spelling" in notes_of(images)


def test_single_letters_of_both_cases_are_classes_of_their_own() -> None:
    assert [label for label, _ in layout_of("a/1.png", "A/2.png").values()] == ["a", "A"]


# --- flat folders


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["cat.0.png", "cat.1.png", "dog.0.png", "dog.1.png"], ["cat", "cat", "dog", "dog"]),
        (["pug_1.jpg", "pug_17.jpg", "tom_cat_2.jpg", "tom_cat_3.jpg"], ["pug", "pug"]),
        (["rose (1).jpg", "rose (2).jpg", "tulip (1).jpg", "tulip (2).jpg"], ["rose", "rose"]),
    ],
)
def test_names_that_begin_with_classes_get_the_pattern_proposed(
    tmp_path: Path, names: list[str], labels: list[str]
) -> None:
    images = read_source(plant(tmp_path, *names))
    assert images.classes == ()
    assert "names begin with 2 words" in notes_of(images)
    proposed = images.notes[-1].split("--label-pattern '")[1].rstrip("'")
    read = read_source(tmp_path, layout=LayoutOptions(label_pattern=proposed))
    assert [file.label for file in read.files][: len(labels)] == labels


def test_a_pattern_gives_labels_and_reports_what_it_does_not_match(tmp_path: Path) -> None:
    plant(tmp_path, "train/cat-1.png", "test/dog-1.png", "test/odd.png")
    images = read_source(tmp_path, layout=LayoutOptions(label_pattern=r"([a-z]+)-\d"))
    assert [(file.label, file.split) for file in images.files] == [
        ("dog", "test"),
        (None, "test"),
        ("cat", "train"),
    ]
    assert (
        "No label for 1 of 3 images, which --label-pattern does not match, the first 'test/odd.png'"
        in notes_of(images)
    )
    assert "has no group" in refusal(tmp_path, label_pattern="cat")
    assert "is not a regular expression" in refusal(tmp_path, label_pattern="(")
    assert "matches no image" in refusal(tmp_path, label_pattern="(zebra)")


def test_where_no_labels_are_wanted_no_layout_is_refused(tmp_path: Path) -> None:
    plant(tmp_path, "train/cat/1.png", "extra/a/b/2.png", "extra/a/c/3.png")
    files = read_source(tmp_path, layout=LayoutOptions(labelled=False)).files
    assert [(file.label, file.split) for file in files] == [(None, None)] * 3


# --- anything

words = st.sampled_from(
    ["train", "Test", "val", "images", "cat", "Cat", "dog", "a", "A", "seg_pred", "1", " ", "é"]
)
paths = st.lists(words, max_size=5).map("/".join)


@steady
@given(
    counts=st.dictionaries(paths, st.integers(1, 9), max_size=8),
    splits=st.sampled_from(["auto", "folders", "none"]),
    depth=st.none() | st.integers(-6, 6),
)
def test_every_folder_has_a_target_or_the_layout_is_refused_in_one_line(
    counts: dict[str, int], splits: str, depth: int | None
) -> None:
    try:
        found = recognise_layout("SET", counts, LayoutOptions(splits, depth))
    except BottleneckError as error:
        message = str(error)
        assert len(message.splitlines()) == 1
    else:
        assert found.targets.keys() == counts.keys()


@steady
@given(names=st.lists(st.lists(words, min_size=1, max_size=4), min_size=1, max_size=6))
def test_no_image_of_a_folder_is_lost(
    tmp_path_factory: pytest.TempPathFactory, names: list[list[str]]
) -> None:
    top = tmp_path_factory.mktemp("set")
    planted = {"/".join(parts) + ".png" for parts in names}
    plant(top, *planted)
    try:
        files = read_source(top).files
    except BottleneckError as error:
        assert "--" in str(error)  # noqa: PT017 - refusing is one of two right answers
    else:
        assert {file.path for file in files} == planted
