"""Attention with its log-sum-exp: fused kernels, plain products, pieces, masks."""

import pytest
import torch
from fewshot.scoring import kernels


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fused_kernel_and_plain_products_agree(causal, dtype):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 4, 70, 16, dtype=dtype) for _ in range(3))
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    for found, expected in zip(
        kernels.attend(q, k, v, causal, 0.3),
        kernels.attend_plainly(q.float(), k.float(), v.float(), causal, 0.3),
        strict=True,
    ):
        torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("pieces", [7, 120])
@pytest.mark.parametrize("masks", [0, 1, 5])
def test_plain_products_in_pieces_equal_one_piece(monkeypatch, pieces, masks):
    """Pieces of a row's queries, and pieces of rows."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(5, 2, 50, 8) for _ in range(3))
    mask = torch.rand(masks, 1, 50, 50) < 0.7 if masks else None
    whole = kernels.attend_plainly(q, k, v, not masks, 0.3, mask)
    monkeypatch.setattr(kernels, "QUERIES", pieces)
    found = kernels.attend_plainly(q, k, v, not masks, 0.3, mask)
    for a, b in zip(found, whole, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def test_masks_and_soft_caps_are_taken_in():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 4, 9, 16) for _ in range(3))
    mask = torch.rand(2, 1, 9, 9) < 0.5
    mask[:, :, 3] = False
    output, total = kernels.attend(q, k, v, False, 0.3, mask, 2.0)
    scores = torch.tanh(q @ k.transpose(-1, -2) * 0.3 / 2) * 2
    scores = scores.masked_fill(~mask, float("-inf"))
    seen = mask.expand(2, 4, 9, 9).any(-1)
    expected = (torch.softmax(scores, -1) @ v)[seen]
    torch.testing.assert_close(output[seen], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(total[seen], torch.logsumexp(scores, -1)[seen])
    assert torch.isfinite(output).all() and (total[~seen] < -1e37).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_mask_is_taken_in_by_the_fused_kernel_exactly(rows, dtype):
    """Compared with float64; plain products of bfloat16 round the scores, and miss by far more."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 4, n, 16, dtype=dtype) for n in (70, 600, 600))
    mask = torch.rand(rows, 1, 70, 600) < 0.5
    mask[:, :, 5, :] = False
    output, total = kernels.attend(q, k, v, False, 0.3, mask)
    scores = q.double() @ k.double().transpose(-1, -2) * 0.3
    scores = scores.masked_fill(~mask, float("-inf"))
    seen = mask.expand(3, 4, 70, 600).any(-1)
    expected = (torch.softmax(scores, -1) @ v.double())[seen]
    assert (~seen).sum() == 12 and output.dtype == dtype
    error = (output[seen].double() - expected).abs().max()
    assert error < (4e-3 if dtype == torch.bfloat16 else 2e-6)
    error = (total[seen].double() - torch.logsumexp(scores, -1)[seen]).abs().max()
    assert error < (1e-4 if dtype == torch.bfloat16 else 1e-5)
    assert torch.isfinite(output).all() and (total[~seen] < -1e37).all()
