"""The folder of a model whose core is a network: the encoder's files, config.json, network.safetensors, model.json."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from watchline.data.encoding import TableEncoder


def save_network(directory: Path, name: str, encoder: TableEncoder, network: nn.Module, config: dict[str, Any]) -> None:
    """Write the files of the model `name`; `config` is what its constructor takes besides, as JSON."""
    directory.mkdir(parents=True, exist_ok=True)
    encoder.save(directory)
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
    save_file(tensors, directory / "network.safetensors")
    (directory / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    (directory / "model.json").write_text(json.dumps({"model": name}) + "\n")


def read_config(directory: Path) -> dict[str, Any]:
    """What `save_network` was given as `config`."""
    config: dict[str, Any] = json.loads((directory / "config.json").read_text())
    return config


def load_weights(network: nn.Module, directory: Path) -> None:
    """Give `network`, which is built as the saved one was, its weights on the CPU, ready to predict."""
    network.load_state_dict(load_file(directory / "network.safetensors"))
    network.eval()


@contextlib.contextmanager
def reading(directory: Path, name: str) -> Iterator[None]:
    """Raise what a missing or broken file raises in the block as a ValueError that names the folder and the remedy."""
    try:
        yield
    except (OSError, KeyError, RuntimeError, json.JSONDecodeError, SafetensorError, ValidationError) as error:
        raise ValueError(f"{directory}: not a saved {name} model ({error}); `dvc checkout` restores it") from error
