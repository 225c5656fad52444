"""Outputs of commits to the default DVC remote, and the run cache: `dvc push` has no option for a list of commits.

python pipelines/push_commits.py COMMIT ...        # in the project's folder
"""

from __future__ import annotations

import sys


def main(commits: list[str]) -> None:
    """Push what the remote lacks; DVC's own error, which names the file or the remote, ends the program."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            print(f"{repo.push(revs=commits, workspace=False, run_cache=True)} files pushed")
    except (DvcException, OSError) as error:
        sys.exit(f"ERROR: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
