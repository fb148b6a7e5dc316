import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from cnn_ablations.training import backend


def test_keras_runs_on_one_thread_with_the_same_results_each_time(keras: ModuleType) -> None:
    import tensorflow as tf
    from tensorflow.python.framework.config import is_op_determinism_enabled

    backend.configure()  # a second time, after something was computed
    assert keras.backend.backend() == backend.BACKEND
    assert tf.config.threading.get_intra_op_parallelism_threads() == backend.THREADS == 1
    assert tf.config.threading.get_inter_op_parallelism_threads() == 1
    assert is_op_determinism_enabled()


def test_provenance_names_versions_and_device() -> None:
    found = backend.provenance()
    assert list(found) == ["backend", "threads", "device", "cpu", "keras", "numpy", "tensorflow"]
    assert found["keras"] == importlib.metadata.version("keras")
    assert found["numpy"] == importlib.metadata.version("numpy")
    assert found["tensorflow"][0].isdigit()
    assert found == backend.provenance()


CHOOSING = (
    "NPY_DISABLE_CPU_FEATURES",
    "OPENBLAS_CORETYPE",
    "TF_CONV2D_USE_FP16_ACCUMULATE",
    "TF_SET_ONEDNN_FPMATH_MODE",
    "TF_USE_DEEP_CONV2D",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
)


@pytest.mark.parametrize("name", CHOOSING)
def test_a_variable_that_chooses_other_code_is_part_of_the_provenance(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "x")
    assert f"{name}=x" in backend.provenance()["cpu"].split()


def test_onednn_is_always_on(keras: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    before = backend.provenance()
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert backend.provenance() == before
    backend.configure()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"


def test_the_provenance_says_what_the_environment_takes_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE"):  # as some machines have them
        monkeypatch.delenv(name, raising=False)
    whole = backend.provenance()["cpu"]
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", "/home/me/.terraformrc")  # TensorFlow is not alone
    taken = "DNNL_MAX_CPU_ISA=AVX ONEDNN_MAX_CPU_ISA=AVX2"
    assert backend.provenance()["cpu"] == f"{whole} {taken}"


FLAGS = {
    "x86-64-v1": "fpu sse sse2",
    "x86-64-v2": "sse sse2 cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3",
    "x86-64-v3": "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 "
    "abm avx avx2 bmi1 bmi2 f16c fma movbe xsave avx_vnni",
    "x86-64-v4": "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 abm avx avx2 bmi1 bmi2 f16c fma movbe "
    "xsave avx512bw avx512cd avx512dq avx512f avx512vl",
}


def of_processor(monkeypatch: pytest.MonkeyPatch, machine: str = "x86_64", **lines: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(backend, "_cpuinfo", lambda name: lines.get(name.replace(" ", "_"), ""))


@pytest.mark.parametrize("level", FLAGS)
def test_a_processor_is_known_by_the_level_of_its_instructions(
    level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_processor(monkeypatch, flags=FLAGS[level])
    assert backend.cpu_class() == level


def test_in_float32_it_does_not_matter_who_made_the_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    amd = FLAGS["x86-64-v4"] + " avx512_bf16 avx512_vnni sha_ni"
    intel = FLAGS["x86-64-v4"] + " avx512_bf16 amx_bf16 amx_int8 amx_tile avx512_fp16"
    for precision, same in (("float32", True), ("mixed_bfloat16", False)):
        of_processor(monkeypatch, flags=amd, model_name="AMD EPYC")
        first = backend.provenance(precision)
        of_processor(monkeypatch, flags=intel, model_name="Intel Xeon")
        assert (backend.provenance(precision) == first) == same
    assert backend.cpu_class("mixed_bfloat16") == "x86-64-v4 amx_bf16 avx512_bf16"


def test_of_other_architectures_all_instructions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    of_processor(monkeypatch, "aarch64", Features="sve asimd")
    assert backend.cpu_class() == "aarch64 asimd sve"


HOSTILE = {
    **{"backend": "jax", "floatx": "float16", "epsilon": 0.1, "nnx_enabled": True},
    "image_data_format": "channels_first",
}
PROBE = """
import json
import os
import platform
from cnn_ablations.training import backend
before = backend.provenance()
backend.configure()
import keras, numpy as np
keras.utils.set_random_seed(0)
layers = [keras.Input((8,)), keras.layers.Dense(1)]
model = keras.Sequential(layers)
model.compile(loss="mse")
images = np.zeros((4, 8))
steps = []
count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
model.fit(images, images[:, :1], batch_size=1, epochs=2, verbose=0, callbacks=[count])
print(json.dumps({
    "backend": keras.config.backend(),
    "floatx": keras.config.floatx(),
    "dtype": model.weights[0].dtype,
    "epsilon": keras.config.epsilon(),
    "image_data_format": keras.config.image_data_format(),
    "steps": len(steps),
    "as before": backend.provenance() == before,
}))
"""


def test_a_user_s_own_settings_of_keras_change_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keras.json").write_text(json.dumps(HOSTILE))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".keras").symlink_to(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("KERAS_MAX_EPOCHS", "1")
    monkeypatch.setenv("KERAS_MAX_STEPS_PER_EPOCH", "1")
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "backend": "tensorflow",
        "floatx": "float32",
        "dtype": "float32",
        "epsilon": 1e-7,
        "image_data_format": "channels_last",
        "steps": 8,
        "as before": True,
    }


def test_circumstances_are_the_provenance_and_what_helps_to_explain() -> None:
    found = backend.circumstances()
    assert backend.provenance().items() <= found.items()
    assert {"h5py", "pandas", "scikit-learn", "scipy", "python", "processor"} <= set(found)
    assert "unknown" not in found.values()
    assert "not installed" not in found.values()


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_gpus_that_are_hidden_are_not_counted(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert backend.gpus() == []


def test_the_cpu_build_of_tensorflow_counts_as_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "tensorflow-cpu":
            return "2.21.0"
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert backend.provenance()["tensorflow"] == "2.21.0"
    assert backend.provenance()["keras"] == "not installed"
