"""The queue in this process: for tests, demonstrations and simulations.

It keeps the promises of the JetStream queue (leases, redelivery, deduplication, the fence around
results) and stores the same bytes under the same subjects, so that nothing passes through it that
could not pass over the wire.
"""

from queues.memory.broker import MemoryBroker
from queues.memory.desk import MemoryDesk
from queues.memory.queue import MemoryQueue

__all__ = ["MemoryBroker", "MemoryDesk", "MemoryQueue"]
