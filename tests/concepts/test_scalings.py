"""Sizes of an edit against the paper's formulas, worked out position by position."""

import math

import pytest
import torch

from concepts.scalings import CODE_NORM, CODE_SHARE, RMS, SCALINGS, code_norms, sizes, summed_length

NORMS = torch.tensor([[[3.0, 0.0], [1.0, 4.0]], [[5.0, 5.0], [5.0, 5.0]]])


def test_the_codes_norm_is_that_of_its_values():
    values = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0], [6.0, 8.0]])
    assert code_norms(values, (1, 2, 2)).tolist() == [[[5.0, 0.0], [1.0, 10.0]]]


def test_what_the_paper_adds_is_the_sum_of_vectors_as_they_are():
    vectors = torch.tensor([[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]])
    assert summed_length(vectors, torch.tensor([0, 1])) == 5.0
    assert summed_length(torch.tensor([[1.0, 0], [-1.0, 0]]), torch.tensor([0, 1])) == 0.0


def test_rms_is_the_same_everywhere():
    assert sizes(RMS, 2.0, 1.5, NORMS).tolist() == torch.full((2, 2, 2), 3.0).tolist()


@pytest.mark.parametrize("scaling", [CODE_NORM, CODE_SHARE])
def test_the_two_of_the_paper_follow_the_code(scaling):
    found = sizes(scaling, 2.0, 1.5, NORMS)
    for image in range(2):
        total = sum(NORMS[image].flatten().tolist())
        for row in range(2):
            for column in range(2):
                norm = float(NORMS[image, row, column])
                beta = 2.0 * norm if scaling == CODE_NORM else 2.0 * norm / total
                assert math.isclose(float(found[image, row, column]), 1.5 * beta, rel_tol=1e-6)


def test_the_shares_of_an_image_sum_to_the_strength_and_none_has_no_edit():
    found = sizes(CODE_SHARE, 400.0, 1.0, torch.cat([NORMS, torch.zeros(1, 2, 2)]))
    assert torch.allclose(found.sum((1, 2)), torch.tensor([400.0, 400.0, 0.0]))


def test_another_scaling_is_refused():
    with pytest.raises(ValueError, match="no scaling 'norm': give rms, code_norm, code_share"):
        sizes("norm", 1.0, 1.0, NORMS)
    assert set(SCALINGS) == {RMS, CODE_NORM, CODE_SHARE}
