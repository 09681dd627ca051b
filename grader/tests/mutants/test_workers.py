"""Workers end with the process that has started them."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

PARENT = """
import os, sys, time
from vmmlab.base import workers

if __name__ == "__main__":
    with workers.pool(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600).result()
"""


def test_a_worker_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = os.pidfd_open(int(parent.stdout.readline()))  # readable once the worker has ended
        os.kill(parent.pid, signal.SIGKILL)
        ended, _, _ = select.select([worker], [], [], 60)
        os.close(worker)
    assert ended
