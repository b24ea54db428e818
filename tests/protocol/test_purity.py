"""The protocol stands alone: whoever imports it gets no framework and no event loop."""

import subprocess
import sys
from pathlib import Path

import reconnect_channels.protocol

MODULES = sorted(path.stem for path in Path(reconnect_channels.protocol.__path__[0]).glob("[a-z]*.py"))
FORBIDDEN = ["django", "channels", "asgiref", "asyncio", "redis"]


def test_importing_the_protocol_imports_no_framework():
    script = (
        f"import sys, importlib\n"
        f"for name in {MODULES!r}: importlib.import_module('reconnect_channels.protocol.' + name)\n"
        f"print([name for name in {FORBIDDEN!r} if name in sys.modules])\n"
    )
    root = Path(reconnect_channels.protocol.__path__[0]).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
