"""The Python example of a page of docs/, as a module."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType


def module_of(page: Path, name: str, folder: Path, *, fewer_lines_than: int) -> ModuleType:
    """The page's one example, written to `folder` and imported as `name`; it must be as short as the page says."""
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.S)
    assert len(code.splitlines()) < fewer_lines_than
    path = folder / f"{name}.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
