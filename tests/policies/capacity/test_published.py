"""The roofline against what others have measured and published.

TENSORRT: output tokens per second under full load, from the "TensorRT-LLM 0.17 performance overview" of NVIDIA
(docs/source/performance/perf-overview.md of its repository): in fp8 with an fp8 KV cache on H100 and H200 (SXM), in
16 bits on the A100 of 80 GB. VLLM: runs of vLLM with what is known of them. The efficiencies of
`policies.capacity.roofline` are fitted to TENSORRT, so that table says how good the shape of the model is, not that it
foretells; VLLM was not fitted to.
"""

from __future__ import annotations

import math

import pytest

from fleet.settings.capacity import load_machines, load_models
from policies.capacity.memory import KvDtype, memory_of
from policies.capacity.quantization import Quantization
from policies.capacity.roofline import JobShape, Replica, speed_of

MACHINES = load_machines(None)
MODELS = load_models()

JOBS = [(128, 128), (128, 2048), (128, 4096), (500, 2000), (1000, 1000), (2048, 128), (2048, 2048), (5000, 500)]
JOBS += [(20000, 2000)]

A100, H100, H200 = "p4de.24xlarge", "p5.48xlarge", "p5en.48xlarge"
TENSORRT = {
    ("llama-8b", 1, H200): (29526, 25399, 17371, 21021, 17538, 3794, 11969, 3988, 1804),
    ("llama-8b", 1, H100): (28837, 21109, 13594, 16501, 15245, 3557, 9488, 3559, 1401),
    ("llama-8b", 1, A100): (6627, 5256, 3454, 4277, 3787, 800, 2424, 825, 330),
    ("llama-70b", 2, H200): (6823, 8290, 6527, 6848, 5165, 809, 4184, 1025, 641),
    ("llama-70b", 2, H100): (6645, 6170, 3897, 4973, 4391, 773, 2898, 920, 443),
    ("llama-70b", 4, H200): (11099, 14156, 10574, 12453, 8911, 1358, 7130, 1812, 1200),
    ("llama-70b", 4, H100): (11128, 11512, 7439, 9837, 7431, 1303, 5480, 1603, 920),
    ("llama-70b", 4, A100): (2733, 2811, 1976, 2276, 1922, 325, 1394, 393, 212),
    ("llama-70b", 8, H200): (15356, 21196, 16942, 17278, 13181, 1983, 11142, 2718, 1920),
    ("llama-70b", 8, H100): (14731, 17062, 14171, 14679, 11451, 1923, 8802, 2457, 1513),
    ("llama-70b", 8, A100): (4718, 5242, 3725, 4445, 3320, 542, 2554, 696, 413),
    ("mixtral-8x7b", 2, H200): (27825, 29584, 21565, 23411, 19151, 3383, 14007, 4224, 2299),
    ("mixtral-8x7b", 2, H100): (27451, 22830, 14237, 17036, 15771, 3334, 10686, 3646, 1757),
    ("mixtral-8x7b", 4, H100): (41068, 41165, 27912, 34489, 27785, 5235, 19432, 6402, 3304),
    ("mixtral-8x7b", 4, A100): (10324, 10912, 7667, 8456, 7123, 1238, 5223, 1501, 830),
    ("mixtral-8x7b", 8, H100): (50850, 61608, 48280, 52584, 40632, 6988, 30983, 9210, 5602),
    ("mixtral-8x7b", 8, A100): (17044, 20278, 15283, 17184, 12851, 2166, 9810, 2761, 1593),
}
TENSORRT_BATCH = 2048
"""The most sequences its engines ran at once."""

TENSORRT_MEMORY = 0.95
"""The share of the memory they used: `--kv_cache_free_gpu_mem_fraction`."""


def predicted(model: str, cards: int, instance: str, job: JobShape, most: int, share: float, eight_bit: bool) -> float:
    """Output tokens a second with as many sequences as fit, `most` at most."""
    architecture, gpu = MODELS[model].architecture, MACHINES.gpu_of(instance)
    kind, kv = (Quantization.FP8, KvDtype.FP8) if eight_bit else (Quantization.BF16, KvDtype.BF16)
    room = memory_of(architecture, kind, kv, gpu, cards, share).sequences(job.tokens)
    replica = Replica(architecture, kind, kv, gpu, MACHINES.link_of(instance), cards)
    return speed_of(replica, job, min(most, room)).tokens_per_second


def errors() -> list[float]:
    """Logarithms of predicted over published, for every figure."""
    return [
        math.log(
            predicted(model, cards, instance, JobShape(*job), TENSORRT_BATCH, TENSORRT_MEMORY, instance != A100)
            / figure
        )
        for (model, cards, instance), figures in TENSORRT.items()
        for job, figure in zip(JOBS, figures, strict=True)
    ]


@pytest.mark.proves(
    "fleet plan's token rates meet 153 published figures of GPUs within a stated factor", how="read only"
)
def test_the_roofline_meets_153_published_figures() -> None:
    found = errors()
    assert len(found) == 153
    assert math.sqrt(sum(error**2 for error in found) / len(found)) < 0.12
    assert abs(sum(found) / len(found)) < 0.02
    assert max(abs(error) for error in found) < math.log(1.38)


VLLM = [
    pytest.param("llama-8b", 1, "p4d.24xlarge", (1024, 128), 1, 75, 1.04, id="A100 40 GB, one at a time"),
    pytest.param("llama-8b", 1, "p4d.24xlarge", (1024, 128), 8, 495, 1.17, id="A100 40 GB, eight at a time"),
    pytest.param("llama-8b", 2, "g5.12xlarge", (215, 43), 256, 442, 0.71, id="2 x A10G over PCIe"),
    pytest.param("llama-70b", 4, "p4de.24xlarge", (213, 218), 200, 714, 0.32, id="4 x A100, 200 prompts"),
]
"""Sources: johnmusgrave.com "vLLM throughput-latency sweep on NVIDIA A100" (0.23); arc53/llm-price-compass, issue 6
(2024); vllm-project/vllm, issue 12315 (0.6.6: 200 prompts at once, so mostly the ramp and the tail of a short run)."""


@pytest.mark.parametrize(("model", "cards", "instance", "job", "most", "measured", "share"), VLLM)
def test_runs_of_vllm_reach_between_a_third_and_a_little_more_of_it(
    model: str, cards: int, instance: str, job: tuple[int, int], most: int, measured: float, share: float
) -> None:
    """The shares that the command prints."""
    full = predicted(model, cards, instance, JobShape(*job), most, 0.9, eight_bit=False)
    assert measured / full == pytest.approx(share, abs=0.02)
