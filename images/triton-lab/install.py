"""Lay out Triton Inference Server as NVIDIA's image does, out of the wheels in requirements.txt.

    python3 install.py PREFIX

makes `PREFIX/bin/tritonserver`, `PREFIX/lib` and `PREFIX/backends/{python,onnxruntime,openvino}`; the server must
then be started with `PREFIX/lib` on the loader's path. The Containerfile runs this for /opt/tritonserver, the lab
for a folder of its own, for tests that need a server and no container. The wheels come through pip's own settings.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent

# The stub that runs Python-based backends exists for each Python; it has to match the one that runs this.
STUB = f"pytriton/tritonserver/python_backend_stubs/{sys.version_info.major}.{sys.version_info.minor}"

# What the networks run on. It goes beside the Python backend's own module, because the stub starts an isolated
# interpreter: it ignores PYTHONPATH, and looks only among the system's packages and in that folder.
PACKAGES = ("numpy", "numpy.libs", "onnxruntime", "openvino")

# What no server that only runs networks on a CPU touches: most of the wheels' weight.
UNUSED = (
    "lib/libpython3*",
    "backends/python/numpy/**/tests",
    "backends/python/numpy/f2py",
    "backends/python/onnxruntime/quantization",
    "backends/python/onnxruntime/tools",
    "backends/python/onnxruntime/transformers",
    "backends/python/openvino/include",
    "backends/python/openvino/cmake",
    "backends/python/openvino/tools",
    "backends/python/openvino/frontend/*frontend*.so",
    "backends/python/openvino/libs/cache.json",
    "backends/python/openvino/libs/libopenvino_intel_gpu_plugin.so*",
    "backends/python/openvino/libs/libopenvino_intel_npu_plugin.so*",
    "backends/python/openvino/libs/libopenvino_gguf_frontend.so*",
    "backends/python/openvino/libs/libopenvino_jax_frontend.so*",
    "backends/python/openvino/libs/libopenvino_paddle_frontend.so*",
    "backends/python/openvino/libs/libopenvino_pytorch_frontend.so*",
    "backends/python/openvino/libs/libopenvino_tensorflow_frontend.so*",
    "backends/python/openvino/libs/libopenvino_tensorflow_lite_frontend.so*",
    "**/*.pyi",
)


def install(prefix: Path) -> None:
    """Fill `prefix`, which must not exist yet.

    Raises `subprocess.CalledProcessError` when pip cannot get the wheels, and `FileExistsError`.
    """
    prefix.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=prefix.parent) as name:
        wheels = Path(name)
        options = ["--quiet", "--disable-pip-version-check", "--root-user-action=ignore", "--no-compile"]
        pins = ["--no-deps", "--require-hashes", "--only-binary=:all:", f"--requirement={SOURCE / 'requirements.txt'}"]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, *pins, f"--target={wheels}"], check=True)
        server = wheels / "pytriton/tritonserver"
        python_backend = prefix / "backends/python"
        (prefix / "backends").mkdir()
        shutil.move(server / "bin", prefix / "bin")
        shutil.move(wheels / "nvidia_pytriton.libs", prefix / "lib")
        shutil.move(server / "backends/python", python_backend)
        shutil.move(wheels / STUB / "triton_python_backend_stub", python_backend)
        for package in PACKAGES:
            shutil.move(wheels / package, python_backend)

    for pattern in UNUSED:
        for path in prefix.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(SOURCE / "backends", prefix / "backends", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__*"))
    # Ahead, since the server may run where nothing can be written; and without the sources' times, which images lose.
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash", str(prefix)], check=True
    )
    for path in prefix.rglob("*"):
        # The wheel's files are writable by everybody.
        path.chmod(path.stat().st_mode & ~0o022 | 0o444)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Lay out Triton Inference Server under PREFIX.")
    parser.add_argument("prefix", type=Path)
    install(parser.parse_args().prefix)
