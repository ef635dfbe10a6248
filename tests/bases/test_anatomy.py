"""What a base is made of agrees with what its paper says."""

import pytest

from bottleneck.bases.anatomy import describe_taps
from bottleneck.bases.registry import find_base
from tests.commandline import Cli, last_json


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        # Howard et al. 2017, table 6; the classifier, which is not part of a base, is one of them
        ("mobilenet", 569),
        ("mobilenet_0.75", 325),
        ("mobilenet_0.5", 149),
        ("mobilenet_0.25", 41),
        # He et al. 2015, table 1, of 3.8 billion
        ("resnet50", 3800),
    ],
)
def test_multiply_adds_are_those_of_the_paper(name: str, millions: int) -> None:
    top = describe_taps(find_base(name), image_size=224)[-1]
    assert top.multiply_adds_below / 1e6 == pytest.approx(millions, rel=0.02)
    assert top.multiply_adds_above == 0


def test_what_is_below_and_above_makes_the_whole_at_every_tap(cli: Cli) -> None:
    shown = last_json(cli("bases", "show", "vgg16", "--image-size", 64, "--time", "--json"))
    taps = shown["taps"]
    assert [tap["tap"] for tap in taps] == [f"block{n}_pool" for n in range(1, 6)]
    for part in ("parameters", "multiply_adds"):
        below = [tap[f"{part}_below"] for tap in taps]
        assert below == sorted(below)
        assert {tap[f"{part}_below"] + tap[f"{part}_above"] for tap in taps} == {below[-1]}
    assert taps[-1]["parameters_below"] == 14_714_688  # Keras's own figure
    assert taps[-1]["shape"] == [2, 2, 512]
    assert taps[-1]["bytes_pooled"] == 4 * 512
    assert taps[-1]["bytes_map"] == 2 * 2 * 2 * 512
    assert all(0 < tap["time_below"] <= 1 for tap in taps)


def test_the_table_has_a_line_for_each_tap(cli: Cli) -> None:
    lines = cli("bases", "show", "vgg16", "--image-size", 32).stdout.splitlines()
    assert len(lines) == 2 + 5
    assert lines[2].startswith("block1_pool")
