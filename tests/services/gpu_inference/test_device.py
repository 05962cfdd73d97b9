"""What is chosen on which machine, and what the settings change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.gpu_inference.device import Hardware, choose, cores, cpu_flags, memory_limit, token_budget
from services.gpu_inference.settings import DeviceChoice, DtypeChoice, Settings
from zeroidle.errors import PermanentError

PLAIN = frozenset({"avx2", "avx512f", "avx512_vnni"})
AMX = PLAIN | {"avx512_bf16", "amx_bf16"}


@pytest.mark.parametrize(
    ("hardware", "expected", "reason"),
    [
        pytest.param(Hardware(PLAIN, None, 1), ("cpu", "float32"), "no bfloat16 units", id="plain CPU"),
        pytest.param(Hardware(AMX, None, 1), ("cpu", "bfloat16"), "amx_bf16, avx512_bf16", id="CPU with AMX"),
        pytest.param(Hardware(PLAIN, (8, 9), 1), ("cuda", "bfloat16"), "capability 8.9", id="L4"),
        pytest.param(Hardware(AMX, (7, 5), 1), ("cuda", "float16"), "no bfloat16", id="T4"),
    ],
)
def test_the_hardware_decides(hardware: Hardware, expected: tuple[str, str], reason: str) -> None:
    runtime = choose(hardware, "auto", "auto", 4)

    assert (runtime.device, runtime.dtype) == expected
    assert reason in runtime.reason


@pytest.mark.parametrize(
    ("device", "dtype", "expected"),
    [
        pytest.param("cpu", "auto", ("cpu", "float32"), id="the CPU beside a GPU"),
        pytest.param("auto", "float32", ("cuda", "float32"), id="another precision"),
    ],
)
def test_settings_go_before_the_hardware(device: DeviceChoice, dtype: DtypeChoice, expected: tuple[str, str]) -> None:
    runtime = choose(Hardware(PLAIN, (8, 9), 1), device, dtype, 4)

    assert (runtime.device, runtime.dtype) == expected


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(PermanentError, match="torch sees no GPU"):
        choose(Hardware(PLAIN, None, 1), "cuda", "auto", 4)


def test_flags_are_those_of_the_first_processor() -> None:
    text = "processor\t: 0\nflags\t\t: fpu amx_bf16\n\nprocessor\t: 1\nflags\t\t: fpu\n"

    assert cpu_flags(text) == {"fpu", "amx_bf16"}
    assert cpu_flags("") == frozenset()


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        pytest.param("100000 100000", 1, id="one core"),
        pytest.param("50000 100000", 1, id="half a core"),
        pytest.param("max 100000", None, id="no quota"),
        pytest.param("99900000 100000", None, id="more than there are"),
        pytest.param("nonsense", None, id="not understood"),
    ],
)
def test_cores_are_what_the_container_may_use(quota: str, expected: int | None, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(quota)

    assert cores(0, tmp_path) == (expected or len(os.sched_getaffinity(0)))
    assert cores(3.5, tmp_path) == 3


def test_memory_is_what_the_container_may_use(tmp_path: Path) -> None:
    total = memory_limit(tmp_path)
    (tmp_path / "memory.max").write_text("1048576\n")
    assert memory_limit(tmp_path) == 2**20

    (tmp_path / "memory.max").write_text("max\n")
    assert memory_limit(tmp_path) == total


def test_a_batch_is_larger_on_a_gpu() -> None:
    cpu, gpu = (choose(Hardware(PLAIN, cuda, 1), "auto", "auto", 1) for cuda in (None, (9, 0)))

    assert token_budget(cpu, 0) < token_budget(gpu, 0)
    assert token_budget(gpu, 77) == 77


def test_settings_are_read_from_the_environment_given() -> None:
    settings = Settings.from_env(
        {
            "MODEL_BUCKET": "models",
            "DEFAULT_MODEL": "m@2",
            "DEVICE": "cpu",
            "MAX_WAIT_MS": "0.5",
            "AIP_PREDICT_ROUTE": "/p",
        }
    )

    assert (settings.model_bucket, settings.default_model, settings.device) == ("models", "m@2", "cpu")
    assert (settings.max_wait_ms, settings.predict_route, settings.dtype) == (0.5, "/p", "auto")


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        pytest.param({}, "MODEL_BUCKET is not set", id="no bucket"),
        pytest.param({"DEVICE": "tpu"}, "DEVICE must be one of auto, cpu, cuda", id="unknown device"),
        pytest.param({"QUEUE_LIMIT": "many"}, "QUEUE_LIMIT must be a number", id="no number"),
        pytest.param({"MAX_WAIT_MS": "-1"}, "MAX_WAIT_MS must be a number of at least 0", id="negative"),
        pytest.param({"TOKEN_BUDGET": "nan"}, "TOKEN_BUDGET must be a number", id="not a number"),
    ],
)
def test_a_wrong_setting_is_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(PermanentError, match=message):
        Settings.from_env({"MODEL_BUCKET": "models", **environ} if environ else {})
