"""`make bench`: every measurement of this folder, one after the other; each is a ratio within its own run."""

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run each `bench_*.py` in a process of its own, so that none inherits another's threads or memory."""
    failed = []
    for path in sorted(Path(__file__).parent.glob("bench_*.py")):
        print(f"== {path.stem}", flush=True)
        if subprocess.run([sys.executable, "-m", f"tests.bench.{path.stem}"], check=False).returncode:
            failed.append(path.stem)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
