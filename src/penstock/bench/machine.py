"""What a figure depends on: the CPU's name; and this process's peak memory."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path


def cpu_model() -> str:
    """The CPU's name as the system has it, such as "AMD EPYC 9654"."""
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
        if answer.stdout.strip():
            return answer.stdout.strip()
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def peak_memory() -> int:
    """Bytes of memory that this process held at its peak.

    Linux tells it per program in VmHWM; getrusage there may still hold the peak of the parent that started it.
    """
    try:
        status = Path("/proc/self/status").read_text("utf-8")
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0
