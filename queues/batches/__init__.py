"""Files and batches: what both brokers have in common is written once, over a narrow seam (`shelf.py`)."""

from queues.batches.batches import EveryBatch, TenantBatches
from queues.batches.files import TenantFiles
from queues.batches.jetstream import JetStreamShelf
from queues.batches.shelf import MemoryShelf, Shelf

__all__ = ["EveryBatch", "JetStreamShelf", "MemoryShelf", "Shelf", "TenantBatches", "TenantFiles"]
