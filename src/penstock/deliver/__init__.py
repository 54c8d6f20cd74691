"""Delivery: batches as tensors of torch or arrays of JAX, on their device; samples for torch's DataLoader."""

from penstock.deliver.target import Target

__all__ = ["Target"]
