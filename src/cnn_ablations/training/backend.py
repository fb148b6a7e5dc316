"""All that depends on Keras's backend and on the machine: threads, determinism, provenance."""

import importlib.metadata
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

BACKEND = "tensorflow"
THREADS = 1
"""Results differ between thread counts, and one thread per training with as many trainings as
cores has the highest throughput."""
NUMERIC_LIBRARIES = ("keras", "numpy", "tensorflow")
OTHER_LIBRARIES = ("h5py", "pandas", "scikit-learn", "scipy")
"""They draw splits and write files, as they have for years: recorded, but a newer one makes no
training stale."""

LEVELS = {
    2: {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"},
    3: {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"},
    4: {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"},
}
"""What a level of x86-64 adds to the one before it, in the words of Linux."""
BFLOAT16 = {"amx_bf16", "avx512_bf16"}

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"

# Prefixes of environment variables that select an implementation.
_CHOOSING = (
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_",
    "NPY_",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_",
    "OPENBLAS_CORETYPE",
    "TF_CONV2D_",
    "TF_CUDNN_",
    "TF_DISABLE_",
    "TF_ENABLE_",
    "TF_ONEDNN_",
    "TF_SET_ONEDNN_",
    "TF_USE_",
    "TF_XLA_",
    "XLA_",
)


def configure() -> None:
    """Make Keras deterministic on one thread. Call it before anything is built or computed.

    What this user's own settings of Keras say (keras.json, variables such as KERAS_MAX_EPOCHS) has
    no part in it.
    """
    for name in [name for name in os.environ if name.startswith("KERAS_")]:
        del os.environ[name]
    os.environ |= {"KERAS_BACKEND": BACKEND, "KERAS_HOME": os.devnull}  # where no keras.json is
    # By itself TensorFlow uses oneDNN only where there is VNNI, which not all with AVX-512 have.
    os.environ[ONEDNN] = "1"
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    tf.config.experimental.enable_op_determinism()


def training_step(
    model: "keras.Model", images: Any, labels: Any, batch_size: int
) -> Callable[[Any, Any], Any]:
    """A compiled step of the optimiser of `model` on a batch of the images and their labels."""
    import tensorflow as tf

    # A size fixed in the graph can change the last bits. Keras's `fit` fixes it where all batches
    # have the same, and so does this.
    size = batch_size if len(labels) % batch_size == 0 else None
    signature = [tf.TensorSpec((size, *array.shape[1:]), array.dtype) for array in (images, labels)]
    step: Callable[..., Any] = tf.function(
        lambda *batch: model.train_step(batch), input_signature=signature
    )
    return step


def provenance(precision: str = "float32") -> dict[str, str]:
    """What decides the bits of a result besides code, parameters and data.

    `precision` is the variant's: what else of the processor matters depends on it.
    """
    return {
        "backend": BACKEND,
        "threads": str(THREADS),
        "device": ", ".join(gpus()) or "cpu",
        "cpu": " ".join([cpu_class(precision), *_choices()]),
        **numeric_libraries(),
    }


def numeric_libraries() -> dict[str, str]:
    """The versions of the libraries that compute."""
    return {library: _version(library) for library in NUMERIC_LIBRARIES}


def circumstances(precision: str = "float32") -> dict[str, str]:
    """The provenance, and what is worth knowing where bits differ although it is the same."""
    return {
        **provenance(precision),
        **{library: _version(library) for library in OTHER_LIBRARIES},
        "python": platform.python_version(),
        "c_library": " ".join(platform.libc_ver()).strip() or "unknown",
        "processor": _processor(),
    }


def cpu_class(precision: str = "float32") -> str:
    """The class of processors that end in the same bits as this one, as far as is known.

    In float32 that is the level of x86-64 by its ABI (https://gitlab.com/x86-psABIs/x86-64-ABI,
    table 3.1), whoever made it; in bfloat16 the instructions for that come on top. Of other
    architectures all vector instructions are named.
    """
    flags = set(_cpuinfo("flags").split() or _cpuinfo("Features").split())
    if platform.machine() != "x86_64":
        return " ".join([platform.machine(), *sorted(flags)])
    level = 1
    while level + 1 in LEVELS and LEVELS[level + 1] <= flags:
        level += 1
    wide = sorted(flag for flag in flags if flag in BFLOAT16) if precision != "float32" else []
    return " ".join([f"x86-64-v{level}", *wide])


def gpus() -> list[str]:
    """The models of the NVIDIA GPUs that TensorFlow would use, as the driver names them."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1"):
        return []
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return [file.read_text().splitlines()[0].partition(":")[2].strip() for file in files]


def _processor() -> str:
    """The name that the processor's maker gave it."""
    return _cpuinfo("model name") or platform.processor() or "unknown"


def _cpuinfo(name: str) -> str:
    """What Linux says under this name of the first processor; empty elsewhere."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    values = (line.partition(":")[2].strip() for line in lines if line.split("\t")[0] == name)
    return next(values, "")


def _choices() -> list[str]:
    """The variables that select an implementation, but for the one that `configure` sets."""
    chosen = {name: value for name, value in os.environ.items() if name.startswith(_CHOOSING)}
    return [f"{name}={value}" for name, value in sorted(chosen.items()) if name != ONEDNN]


def _version(library: str) -> str:
    # TensorFlow's CPU-only build is a distribution of its own.
    for distribution in (library, f"{library}-cpu"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "not installed"
