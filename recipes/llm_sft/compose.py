"""Compose the recipe's params.yaml from its conf/, as any `dvc exp run` in its folder does.

python -m recipes.llm_sft.compose [train.model.path=PATH ...]       (from the project's root)
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.params import compose_params

RECIPE = Path(__file__).resolve().parent

if __name__ == "__main__":
    compose_params(RECIPE, sys.argv[1:])
    print("composed recipes/llm_sft/params.yaml from recipes/llm_sft/conf/")
