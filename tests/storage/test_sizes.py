"""Bytes of the stores: those that the file system has, counted again no oftener than is cheap."""

from storage import sizes
from storage.sizes import Sizes, bytes_below


def test_every_file_below_is_counted_and_what_is_linked_is_not(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"x" * 7)
    (tmp_path / "a" / "b" / "two").write_bytes(b"x" * 11)
    (tmp_path / "elsewhere").write_bytes(b"x" * 100)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "elsewhere")
    assert bytes_below(tmp_path / "a") == 18 and bytes_below(tmp_path / "none") == 0


def test_a_folder_is_looked_at_again_when_it_is_time(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(sizes.time, "monotonic", lambda: now[0])
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "part").write_bytes(b"x" * 5)
    known = Sizes(tmp_path)
    assert known.measured() == {"tables": 5}
    (tmp_path / "tables" / "part").write_bytes(b"x" * 9)
    now[0] += sizes.AT_LEAST_S / 2
    assert known.measured() == {"tables": 5}
    now[0] += sizes.AT_LEAST_S
    assert known.measured() == {"tables": 9}
    (tmp_path / "saes").mkdir()
    known.forget()
    assert known.measured() == {"tables": 9, "saes": 0}
