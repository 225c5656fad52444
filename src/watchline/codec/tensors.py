"""Tensors in, tensors out: the codec computes with NumPy alone and touches torch only where a caller has brought it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_numpy(values: Any) -> NDArray[Any]:
    """An array, or a tensor of any device and precision, for NumPy; memory is shared where it can be."""
    if not _is_tensor(values):
        return np.asarray(values)
    values = values.detach().cpu()
    array: NDArray[Any] = (values.double() if values.is_floating_point() else values).numpy()  # NumPy has no bfloat16
    return array


def in_kind_of(source: Any, array: NDArray[Any]) -> Any:
    """`array` in the kind of `source`: a tensor on its device, or as it is."""
    return sys.modules["torch"].from_numpy(array).to(source.device) if _is_tensor(source) else array


def _is_tensor(values: Any) -> bool:
    torch = sys.modules.get("torch")  # a tensor can come from a torch that is loaded only
    return torch is not None and isinstance(values, torch.Tensor)
