"""Tensors go in and come out; NumPy is what computes, and torch is never imported for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from watchline.codec import VocabularyConfig, decode, encode, fit_vocabulary, legal_next

LABELS_N = np.random.default_rng(0).lognormal(2, 1.3, 200)
VOCABULARY = fit_vocabulary(LABELS_N, VocabularyConfig(unit_s=0.1))
NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_CUDA])]


@pytest.mark.parametrize("device", DEVICES)
def test_a_tensor_gives_the_numbers_of_numpy_as_a_tensor_on_its_device(device):
    classes_NL, length_N = encode(VOCABULARY, LABELS_N)
    found_NL, found_N = encode(VOCABULARY, torch.from_numpy(LABELS_N).to(device))
    amount_N, legal_NC = decode(VOCABULARY, found_NL), legal_next(VOCABULARY, found_NL[:, :2])
    expected = classes_NL, length_N, decode(VOCABULARY, classes_NL), legal_next(VOCABULARY, classes_NL[:, :2])
    for found, wanted in zip((found_NL, found_N, amount_N, legal_NC), expected):
        assert isinstance(found, torch.Tensor) and found.device.type == device
        assert np.array_equal(found.cpu().numpy(), wanted) and found.cpu().numpy().dtype == wanted.dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_labels_of_any_precision_are_encoded_as_the_numbers_they_are(dtype):
    label_N = torch.from_numpy(LABELS_N).to(dtype).requires_grad_(dtype.is_floating_point)
    assert torch.equal(encode(VOCABULARY, label_N)[0], encode(VOCABULARY, label_N.detach().double())[0])


def test_the_codec_imports_no_torch():
    code = (
        "import sys, numpy as np; from watchline.codec import *; v = fit_vocabulary([3.0], VocabularyConfig()); "
        "legal_next(v, encode(v, np.ones(2))[0]); print('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "False"
