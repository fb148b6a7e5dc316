import importlib.metadata
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


def test_the_cpu_s_type_says_what_the_environment_takes_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    whole = backend.cpu_type()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert backend.cpu_type() == f"{whole} ONEDNN_MAX_CPU_ISA=AVX2"


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
