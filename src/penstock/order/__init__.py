"""Which item comes when: shuffle, rank and resume, as pure arithmetic on positions."""

from penstock.order.algebra import Order
from penstock.order.cipher import hash_position, permute, unpermute
from penstock.order.grid import Grid

__all__ = ["Grid", "Order", "hash_position", "permute", "unpermute"]
