"""Starts vLLM inside a replica, and counts what the engine does."""

from __future__ import annotations

from typing import Any

from ray.llm._internal.common.callbacks.base import CallbackBase
from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine

from deployments.profiles import LLAMA
from deployments.replica.compilers import require_compilers
from deployments.replica.precedence import scheduler_for
from fleet.model.errors import ConfigError


class WeightsAreHere(CallbackBase):  # type: ignore[misc]  # Ray ships no types
    """Starts no extra worker process to download weights that are on this machine."""

    async def on_before_node_init(self) -> None:
        self.ctx.run_init_node = False


class FleetEngine(VLLMEngine):  # type: ignore[misc]  # Ray ships no types
    """vLLM's engine; on the CPU its worker lives in the engine's own process.

    Ray asks for a separate worker process, because vLLM binds that one's threads to cores. A stand-in model computes
    on one thread, so a third process per model would cost its imports, a gigabyte, and a hop over shared memory for
    every step, and bind nothing.

    `outputs` counts the messages from the engine's process since it started, one for every step that had any output.
    """

    outputs = 0

    async def start(self) -> None:
        await super().start()
        core = self._engine_client.engine_core
        receive = core.get_output_async

        async def receive_and_count() -> Any:
            received = await receive()
            self.outputs += 1
            return received

        core.get_output_async = receive_and_count

    @property
    def unfinished(self) -> int:
        """The number of requests in hand, from the fleet or over HTTP."""
        return int(self._engine_client.get_num_unfinished_requests())

    @property
    def is_dead(self) -> bool:
        """True once the engine's process has ended; vLLM notices that at once, with or without a call."""
        return self._engine_client is not None and bool(self._engine_client.errored)

    def kill(self) -> None:
        """Kill the engine's process at once, because a stuck one may ignore a signal to end itself.

        Its memory is free for the successor, and callers that wait for an answer learn that none will come.
        """
        for process in self._engine_client.engine_core.resources.engine_manager.processes:
            process.kill()

    def _start_async_llm_engine(self, engine_args: Any, engine_config: Any, placement_group: Any) -> Any:
        prepare(engine_config)
        return super()._start_async_llm_engine(engine_args, engine_config, placement_group)


def prepare(engine_config: Any) -> None:
    """Set what is the same for every engine of the fleet: where its worker lives, and who goes first.

    Raises: BackendUnavailable if an engine on a card could not compile its kernels here; ConfigError if it is to serve
    adapters and cannot.
    """
    kind = engine_config.model_config.hf_config.model_type
    if engine_config.lora_config is not None and kind != LLAMA:
        raise ConfigError("adapters", f"belong to models of type {LLAMA}, and this one is of type {kind}")
    if engine_config.device_config.device_type == "cpu":
        engine_config.parallel_config.distributed_executor_backend = "uni"
        if engine_config.lora_config is not None:
            engine_config.parallel_config.worker_cls = "deployments.replica.cpu.AdapterWorker"
    else:
        require_compilers()  # all cards of a replica are in this machine
    scheduling = engine_config.scheduler_config
    scheduling.scheduler_cls = scheduler_for(scheduling.async_scheduling)
