"""The table of images of known truth is read for what it holds, wherever it lies."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.truth import COLUMNS, _read


@pytest.mark.parametrize("above", ["seed=99", "caption=x", "k=1", "[a]"])
def test_folders_above_a_truth_table_say_nothing_about_its_rows(tmp_path, above):
    path = tmp_path / above / "truth.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({name: ["7"] for name in COLUMNS}), path)
    assert _read(path).to_pylist() == [dict.fromkeys(COLUMNS, "7")]
