"""Fixed bases of one weight: its largest singular triples, balanced between the two factors."""

# m rows of the weight (outputs), n columns (inputs), R = num_slices * rank singular triples

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Method = Literal["eigh", "svd", "lowrank"]

_OVERSAMPLING = 8  # extra columns of the randomised range finder, as Halko et al. (2011) advise
_LOWRANK_SEED = 0  # the sketch must not depend on, nor move, the caller's random state


def balanced_bases(weight_mn: Tensor, total_rank: int, method: Method, iterations: int = 4) -> tuple[Tensor, Tensor]:
    """A = S^1/2 V^T (R, n) and B^T = S^1/2 U^T (R, m) of the R largest singular triples, in the weight's dtype.

    `eigh` takes the eigenvectors of the smaller Gram matrix and `svd` the full decomposition, both in float64;
    `lowrank` is a randomised SVD with that many power `iterations` in the weight's own dtype. B A is the best rank-R
    approximation of the weight. The sign of each triple is fixed by its largest input coordinate.
    """
    with torch.no_grad():
        if method == "lowrank":
            left_mR, singular_R, right_Rn = _lowrank_triples(weight_mn, total_rank, iterations)
        elif method == "svd":
            left_mR, singular_R, right_Rn = torch.linalg.svd(weight_mn.double(), full_matrices=False)
        else:
            left_mR, singular_R, right_Rn = _gram_triples(weight_mn.double(), total_rank)
        root_R1 = singular_R[:total_rank].sqrt().unsqueeze(1)
        right_Rn, left_Rm = right_Rn[:total_rank], left_mR[:, :total_rank].T
        sign_R1 = _signs(right_Rn)
        a_Rn, bt_Rm = root_R1 * sign_R1 * right_Rn, root_R1 * sign_R1 * left_Rm
        return a_Rn.to(weight_mn.dtype).contiguous(), bt_Rm.to(weight_mn.dtype).contiguous()


def _gram_triples(weight_mn: Tensor, total_rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """The largest singular triples from the eigenvectors of W W^T or W^T W, whichever is smaller."""
    m, n = weight_mn.shape
    short = weight_mn if m <= n else weight_mn.T
    vectors = torch.linalg.eigh(short @ short.T).eigenvectors.flip(1)[:, :total_rank]
    projected = vectors.T @ short
    # The norms keep small singular values more exact than the square roots of the eigenvalues.
    singular_R = torch.linalg.vector_norm(projected, dim=1)
    smallest = torch.finfo(projected.dtype).tiny
    other = projected / singular_R.clamp_min(smallest).unsqueeze(1)
    return (vectors, singular_R, other) if m <= n else (other.T, singular_R, vectors.T)


def _lowrank_triples(weight_mn: Tensor, total_rank: int, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """A randomised SVD that leaves the global random state as it was."""
    columns = min(total_rank + _OVERSAMPLING, *weight_mn.shape)
    devices = [weight_mn.device] if weight_mn.is_cuda else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(_LOWRANK_SEED)
        left_mR, singular_R, right_nR = torch.svd_lowrank(weight_mn, q=columns, niter=iterations)
    return left_mR, singular_R, right_nR.T


def _signs(right_Rn: Tensor) -> Tensor:
    """+1 or -1 (R, 1) that makes the largest coordinate of each row positive."""
    largest = right_Rn.gather(1, right_Rn.abs().argmax(dim=1, keepdim=True))
    return torch.where(largest < 0, -torch.ones_like(largest), torch.ones_like(largest))
