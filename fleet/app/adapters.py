"""Adapters with their real store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from fleet.model.adapter import AdapterVersion, RegisteredAdapter
from fleet.model.experiment import Experiment
from fleet.ports import AdapterStore
from policies.adapters import steps
from queues.jetstream.stores.adapters import JetStreamAdapters

open_adapters = JetStreamAdapters.connect
"""Connects to the adapters of the fleet."""

There = Mapping[str, RegisteredAdapter]


async def register_adapter(
    store: AdapterStore,
    scope: Callable[[There], RegisteredAdapter],
    version: AdapterVersion,
    files: Mapping[str, bytes],
    experiments: Collection[Experiment],
    why: str,
) -> RegisteredAdapter:
    """Register a version with its files as the candidate of its adapter, whose scope is as `scope` says.

    Evidence that the version comes with is kept, also with one that was registered before. Raises: InvalidAdapter,
    ConfigError if it is refused, and nothing is stored; QueueUnavailable.
    """

    def entered(there: There) -> RegisteredAdapter:
        done = steps.entered(there, scope(there), version, experiments, why, version.registered_at)
        if version.evidence is None:
            return done
        return steps.with_evidence(done, version.digest, version.evidence, version.registered_at)

    entered(await store.read_all())  # what is refused stores no files
    await store.put_files(version.digest, files)
    done = await store.change(entered)
    # Somebody who removed the last adapter of equal content meanwhile has removed its files too.
    await store.put_files(version.digest, files)
    return done
