"""Stored bytes that are no image name their table, prompt and remedy."""

import numpy as np
import pytest

from storage.images import encode_png
from study.config import load_config
from study.errors import StudyError
from study.reading import images_by_id, images_of
from study.study import Study
from tests.parts import add_part
from tests.paths import ROOT

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
DAMAGED = {"empty": b"", "cut": encode_png(RGB)[:60]}


@pytest.mark.parametrize("kind", ["empty", "cut"])
def test_bytes_that_are_no_image_name_table_prompt_and_remedy(tmp_path, kind):
    study = Study(str(tmp_path), load_config(ROOT / "configs" / "tiny.yaml"), "h")
    data = {prompt_id: encode_png(RGB) for prompt_id in range(8, 16)} | {11: DAMAGED[kind]}
    rows = [{"prompt_id": i, "image": d, "width": 7, "height": 5, "sha256": ""} for i, d in data.items()]
    add_part(tmp_path, "images", "000001", rows)
    says = r"table images holds for prompt 11 .* no image .*: run `concepts repair .* --unit collect/000001`"
    with pytest.raises(StudyError, match=says):
        images_of(study, 8, 16)
    with pytest.raises(StudyError, match=says):
        images_by_id(study, [11])
    assert list(images_of(study, 12, 14)) == [12, 13]
