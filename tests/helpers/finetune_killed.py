"""The finetune stage with a process that dies: rank 1 kills itself before the optimizer step named on the command line.

torchrun --nproc_per_node=2 tests/helpers/finetune_killed.py STEP --model ...
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from watchline.finetuning.loop import Finetuner
from watchline.stages import run_stage
from watchline.stages.finetune import main

_plain_step = Finetuner._step


def _step(self: Finetuner) -> None:
    if self.processes.rank == 1 and self.state.step == int(sys.argv[1]):
        Path("killed_at").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    _plain_step(self)


if __name__ == "__main__":
    Finetuner._step = _step  # type: ignore[method-assign]
    run_stage(lambda: main(sys.argv[2:]))
