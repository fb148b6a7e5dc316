"""All that depends on Keras's backend and on the machine: threads, determinism, provenance."""

import importlib.metadata
import os
import platform
from pathlib import Path

BACKEND = "tensorflow"
THREADS = 1
"""Results differ between thread counts, and one thread per training with as many trainings as
cores has the highest throughput."""
NUMERIC_LIBRARIES = ("keras", "numpy", "tensorflow")


def configure() -> None:
    """Make Keras deterministic on one thread. Call it before anything is built or computed."""
    os.environ.setdefault("KERAS_BACKEND", BACKEND)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    tf.config.experimental.enable_op_determinism()


def provenance() -> dict[str, str]:
    """What decides the bits of a result besides code, parameters and data."""
    return {
        "backend": BACKEND,
        "threads": str(THREADS),
        "device": ", ".join(gpus()) or "cpu",
        "cpu": cpu_type(),
        **{library: _version(library) for library in NUMERIC_LIBRARIES},
    }


def cpu_type() -> str:
    """The architecture, its vector instructions, and what the environment takes away from them."""
    cpuinfo = Path("/proc/cpuinfo")
    words = cpuinfo.read_text().split() if cpuinfo.is_file() else [platform.processor()]
    vectors = {word for word in words if word.startswith(("avx", "amx", "fma", "sve", "arm"))}
    limits = [
        f"{name}={os.environ[name]}"
        for name in ("ONEDNN_MAX_CPU_ISA", "TF_ENABLE_ONEDNN_OPTS")
        if name in os.environ
    ]
    return " ".join([platform.machine(), *sorted(vectors), *limits])


def gpus() -> list[str]:
    """The models of the NVIDIA GPUs that TensorFlow would use, as the driver names them."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1"):
        return []
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return [file.read_text().splitlines()[0].partition(":")[2].strip() for file in files]


def _version(library: str) -> str:
    # TensorFlow's CPU-only build is a distribution of its own.
    for distribution in (library, f"{library}-cpu"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "not installed"
