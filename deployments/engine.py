"""How the fleet starts vLLM inside a replica."""

from __future__ import annotations

from typing import Any

from ray.llm._internal.common.callbacks.base import CallbackBase
from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine


class WeightsAreHere(CallbackBase):  # type: ignore[misc]  # Ray ships no types
    """For weights on this machine: start no extra worker process just to download nothing."""

    async def on_before_node_init(self) -> None:
        self.ctx.run_init_node = False


class FleetEngine(VLLMEngine):  # type: ignore[misc]  # Ray ships no types
    """vLLM's engine; on the CPU its worker lives in the engine's own process.

    Ray asks for a separate worker process, because vLLM binds that one's threads to cores. A stand-in model computes
    on one thread, so a third process per model would cost its imports, a gigabyte, and a hop over shared memory for
    every step, and bind nothing.
    """

    def _start_async_llm_engine(self, engine_args: Any, engine_config: Any, placement_group: Any) -> Any:
        if engine_config.device_config.device_type == "cpu":
            engine_config.parallel_config.distributed_executor_backend = "uni"
        return super()._start_async_llm_engine(engine_args, engine_config, placement_group)
