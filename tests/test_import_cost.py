"""What `import penstock` brings with it, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys

# Each stays out until the user asks for the one thing that needs it.
FORBIDDEN = {"torch", "jax", "pandas", "pyarrow", "rich", "click", "onnxruntime", "skimage", "scipy", "hypothesis"}


def modules_after(statement: str) -> set[str]:
    script = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=200)
    return set(answer.stdout.split())


def test_import_brings_nothing_heavy():
    loaded = {name.split(".")[0] for name in modules_after("import penstock")}
    assert not loaded & FORBIDDEN


def test_import_loads_no_format_of_pillow():
    # Image registers no format by itself; each plugin costs milliseconds and comes with the first open that needs it.
    beyond = modules_after("import penstock") - modules_after("import PIL.Image")
    assert not {name for name in beyond if name.startswith("PIL.") and name.endswith("Plugin")}


def test_import_starts_no_thread():
    script = "import penstock, threading; print(threading.active_count())"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=200)
    assert answer.stdout.split() == ["1"]
