"""The notebooks run from their first cell to the last, and show what came of it."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.long
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.name)
def test_a_notebook_runs_where_there_is_nothing_yet(file: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    committed = [len(cell.outputs) > 0 for cell in code_cells(notebook)]
    # an error in any cell is raised
    NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": tmp_path}}).execute()
    assert [len(cell.outputs) > 0 for cell in code_cells(notebook)] == committed


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.name)
def test_what_is_committed_is_a_real_run_in_order(file: Path) -> None:
    cells = code_cells(nbformat.read(file, as_version=4))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
    last = "".join(output.get("text", "") for output in cells[-1].outputs)
    assert "its accuracy is" in last
    assert str(Path.home()) not in file.read_text()


def test_there_is_a_notebook() -> None:
    assert NOTEBOOKS
