"""What importing the package does to a process, and to the packages that mistake it for another."""

import subprocess
import sys
from pathlib import Path

import pytest

from bottleneck.cli.main import COMMANDS
from tests.commandline import Cli
from tests.heads.blobs import write_blobs

HEAVY = ("tensorflow", "keras", "sklearn", "scipy", "matplotlib", "pandas", "h5py", "numpy", "PIL")


def run_python(code: str, *options: str, **kwargs: object) -> str:
    process = subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        **kwargs,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = run_python("import bottleneck, sys; print(*sys.modules)").split()
    assert not set(HEAVY) & set(loaded)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["extract", "--help"],
        ["cache", "info", "--help"],
        ["compare", "--help"],
        ["finetune", "--help"],
        ["extract", "no-such-folder", "--cache", "c"],
    ],
)
def test_help_and_refusals_start_without_tensorflow(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print(*sys.modules))\n"
        f"sys.argv = {['bottleneck', *arguments]!r}\n"
        "from bottleneck.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass"
    )
    loaded = run_python(code, cwd=tmp_path).split()
    assert "bottleneck.cli.main" in loaded
    assert not {"tensorflow", "keras", "matplotlib", "pandas"} & set(loaded)
    if arguments == ["--help"]:
        assert not set(HEAVY) & set(loaded)


def test_the_list_of_commands_says_of_each_what_it_says_itself(cli: Cli) -> None:
    for name, line in COMMANDS.items():
        itself = " ".join(cli(name, "--help").stdout.replace("│", " ").split())
        assert line in itself
    assert all(name in cli("--help").stdout for name in COMMANDS)


def test_a_logistic_head_is_fitted_and_served_from_a_cache_without_tensorflow(
    cache: Path, images: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, bottleneck\n"
        f"run = bottleneck.fit_head({str(cache)!r}, 'logistic', out='run').path\n"
        f"bottleneck.compare({str(cache)!r}, ['logistic'], report='r.html')\n"
        f"bottleneck.predict(run, {str(images)!r}, cache={str(cache)!r})\n"
        f"bottleneck.extract({str(images)!r}, {str(cache)!r}, weights='random', image_size=75)\n"
        "print(*sys.modules)"
    )
    loaded = run_python(code, cwd=tmp_path).split()
    assert "sklearn" in loaded
    assert not {"tensorflow", "keras"} & set(loaded)


def test_no_scikit_learn_head_loads_tensorflow_or_needs_it_installed(tmp_path: Path) -> None:
    write_blobs(tmp_path / "cache")
    code = """
import importlib.metadata, sys
from pathlib import Path
found = importlib.metadata.version
def version(name):
    if name in ("keras", "tensorflow"): raise importlib.metadata.PackageNotFoundError(name)
    return found(name)
importlib.metadata.version = version
sys.modules["keras"] = sys.modules["tensorflow"] = None  # to import them is an error
import bottleneck
from bottleneck.heads.registry import HEADS, find_head
small = {"boosting": {"max_iter": 3}, "forest": {"n_estimators": 5}, "extra-trees": {"n_estimators": 5}}
for name, kind in HEADS.items():
    if "networks" not in kind.module:
        run = bottleneck.fit_head("cache", name, out=f"runs/{name}", params=small.get(name, {})).run
        assert "scikit-learn" in run.versions and "tensorflow" not in run.versions
        find_head(name).load(Path("runs", name))
        print(name)
"""
    assert "logistic" in run_python(code, cwd=tmp_path).split()


def test_the_function_is_not_hidden_by_a_subpackage() -> None:
    code = (
        "import bottleneck, bottleneck.extraction.extract, bottleneck.heads.fit, bottleneck.serve.predict\n"
        "for name in bottleneck.__all__: assert callable(getattr(bottleneck, name)), name\n"
        "from bottleneck import extract, FeatureCache, fit_head, predict, BottleneckError\n"
        "assert set(bottleneck.__all__) <= set(dir(bottleneck))"
    )
    run_python(code)


@pytest.mark.parametrize("first", ["import bottleneck", "pass"])
def test_pandas_gives_right_results_without_a_warning(first: str) -> None:
    code = f"""
{first}
import numpy as np, pandas as pd
import bottleneck
values = np.array([[3.0, 1.0, np.nan], [2.0, 5.0, 4.0], [8.0, 1.0, 6.0], [4.0, 4.0, 2.0]])
frame = pd.DataFrame(values)
np.testing.assert_allclose(frame.sum(), np.nansum(values, axis=0))
np.testing.assert_allclose(frame.mean(axis=1), np.nanmean(values, axis=1))
np.testing.assert_allclose(frame.median(), np.nanmedian(values, axis=0))
np.testing.assert_allclose(frame.std(), np.nanstd(values, axis=0, ddof=1))
np.testing.assert_allclose(frame.max(), np.nanmax(values, axis=0))
np.testing.assert_allclose(frame[0].rolling(2).mean(), [np.nan, 2.5, 5.0, 6.0])
np.testing.assert_allclose(frame[0].rolling(3).median(), [np.nan, np.nan, 3.0, 4.0])
assert not pd.options.compute.use_bottleneck or frame[0].sum() == 17.0
"""
    run_python(code, "-W", "error")


@pytest.mark.parametrize("first", ["import bottleneck", "pass"])
def test_xarray_gives_right_results_without_a_warning(first: str) -> None:
    code = f"""
{first}
import numpy as np, xarray as xr
import bottleneck
values = np.array([[3.0, 1.0, np.nan, 7.0], [2.0, 5.0, 4.0, 1.0]])
array = xr.DataArray(values, dims=("row", "time"))
np.testing.assert_allclose(array.sum("time"), np.nansum(values, axis=1))
np.testing.assert_allclose(array.mean("row"), np.nanmean(values, axis=0))
np.testing.assert_allclose(array.median("time"), np.nanmedian(values, axis=1))
np.testing.assert_allclose(array.max(), 7.0)
rolled = array.fillna(0.0).rolling(time=2)
np.testing.assert_allclose(rolled.mean()[0], [np.nan, 2.0, 0.5, 3.5])
np.testing.assert_allclose(rolled.sum()[1], [np.nan, 7.0, 9.0, 5.0])
np.testing.assert_allclose(rolled.median()[1], [np.nan, 3.5, 4.5, 2.5])
"""
    run_python(code, "-W", "error")


def test_the_command_says_so_where_the_accelerator_of_the_same_name_is_installed(
    cli: Cli, tmp_path: Path
) -> None:
    metadata = tmp_path / "Bottleneck-1.6.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: Bottleneck\nVersion: 1.6.0\n")
    namesake = tmp_path / "bottleneck" / "__init__.py"  # and what it has put in our place
    namesake.parent.mkdir()
    namesake.write_text("__version__ = '1.6.0'")
    alone = cli("--version")
    beside = cli("--version", env={"PYTHONPATH": str(tmp_path)})
    assert alone.stderr == ""
    assert "Bottleneck 1.6.0 is installed in this environment too" in beside.stderr
    assert alone.stdout == beside.stdout == "bottleneck 0.1.0\n"
