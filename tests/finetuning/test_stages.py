"""What `--stages` and `--config` take, and what they do not."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottleneck.errors import BottleneckError
from bottleneck.finetuning.settings import Settings, read_config
from bottleneck.finetuning.stages import Stage, auto_stages, parse_stages

taps = st.one_of(st.integers(0, 300), st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True))
stages = st.builds(
    Stage,
    taps.filter(lambda above: above != "head"),
    st.integers(1, 99),
    st.integers(1, 999).map(lambda n: float(f"{n}e-6")),
)


@given(st.lists(stages, min_size=1, max_size=4))
def test_stages_round_trip_through_text(some: list[Stage]) -> None:
    assert parse_stages(",".join(map(str, some))) == tuple(some)


@pytest.mark.parametrize(
    "text",
    [
        *("", "mixed9", "mixed9:3", "mixed9@1e-4", "mixed9:x@1e-4", "mixed9:3@fast"),
        *("mixed9:3@1e-4,", "mixed9:0@1e-4", "mixed9:3@0", "mixed9:3@-1", "mixed9:3@nan"),
        *("mixed9:3@inf", "mixed9:3@1e-4;mixed8:1@1e-5"),
    ],
)
def test_an_invalid_stage_is_an_error_with_an_example(text: str) -> None:
    with pytest.raises(BottleneckError, match=r"--stages|takes"):
        parse_stages(text)


def test_auto_goes_down_at_falling_rates_as_far_as_there_are_taps() -> None:
    down = auto_stages([f"mixed{n}" for n in range(9, -1, -1)])
    assert [stage.above for stage in down] == ["mixed9", "mixed8", "mixed6"]
    assert [b.learning_rate / a.learning_rate for a, b in itertools.pairwise(down)] == (
        pytest.approx([0.1, 0.1])
    )
    assert [stage.above for stage in auto_stages(["block1"])] == ["block1"]
    with pytest.raises(BottleneckError, match="--unfreeze-last"):
        auto_stages([])


def test_a_config_file_sets_options(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(
        "stages:\n"
        "  - {above: mixed9, epochs: 3, learning_rate: 1e-4}\n"
        "  - mixed7:5@1e-5\n"
        "layer-decay: 0.8\nweight_decay: 1e-5\naugment: flip,rotate=15\nviews: 4\ntrain_batchnorm: true\n"
    )
    assert read_config(file) == {
        "stages": "mixed9:3@1e-4,mixed7:5@1e-5",
        "layer_decay": 0.8,
        "weight_decay": 1e-5,
        "augment": "flip,rotate=15",
        "views": 4,
        "train_batchnorm": True,
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("layer_deacy: 0.8", "did you mean layer_decay"),
        ("- 1", "not a mapping"),
        ("a: [", "cannot be read"),
        ("weight_decay: much", "takes a number"),
        ("stages: [{above: mixed9}]", "above, epochs and learning_rate"),
    ],
)
def test_an_invalid_config_file_is_an_error(content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(content)
    with pytest.raises(BottleneckError, match=said):
        read_config(file)
    with pytest.raises(BottleneckError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("layer_decay", 0.0, "--layer-decay takes a number from"),
        ("layer_decay", 1.5, "--layer-decay takes a number from"),
        ("dropout", 1.0, "--dropout"),
        ("label_smoothing", -0.1, "--label-smoothing"),
        ("batch_size", 0, "--batch-size"),
        ("decay", "linear", "--decay takes cosine, none"),
        ("precision", "int8", "--precision takes"),
        ("augment", "twist", "--augment takes"),
        ("views", 3, "say how with --augment"),
    ],
)
def test_settings_out_of_range_are_an_error_that_names_the_option(
    name: str, value: object, said: str
) -> None:
    with pytest.raises(BottleneckError, match=said):
        Settings(**{name: value})  # type: ignore[arg-type]
