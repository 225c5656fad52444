"""The programs a promotion is made of: the library's own, DVC and git, run in the project with their lines told."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.process import run_lines
from pipelines.stage_errors import is_busy

_WAITS_S = (5.0, 15.0, 45.0)


class PromotionError(RuntimeError):
    """A step that failed; the message carries its last lines or says what to do."""


@dataclass(frozen=True)
class Workspace:
    """A project folder, where its lines go, and the limit for one step, seconds."""

    root: Path
    log: Callable[[str], None]
    timeout_s: float

    def run(self, command: Sequence[str], cwd: Path | None = None) -> list[str]:
        """Run a command to its end; raises PromotionError with its last lines."""
        done = run_lines(command, cwd or self.root, self.log, self.timeout_s)
        if done.returncode:
            text = "\n".join(done.lines[-15:]).removeprefix("error: ")
            raise PromotionError(text or f"{command[0]}: exit {done.returncode}")
        return done.lines

    def library(self, module: str, *arguments: str, cwd: Path | None = None) -> list[str]:
        """Run a module of the project's own code as a program."""
        program = ["env", f"PYTHONPATH={self.root / 'src'}", sys.executable, "-m", f"watchline.{module}"]
        return self.run([*program, *arguments], cwd)

    def dvc(self, *arguments: str) -> list[str]:
        """Run DVC, again where another DVC command holds the workspace."""
        for wait_s in (*_WAITS_S, None):
            try:
                return self.run(["dvc", *arguments])
            except PromotionError as error:
                if wait_s is None or not is_busy(str(error).splitlines()):
                    raise
                time.sleep(wait_s)
        raise AssertionError

    def git(self, *arguments: str) -> str:
        """Run git; raises PromotionError with what it said."""
        done = subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, text=True)
        if done.returncode:
            raise PromotionError(f"git {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout
