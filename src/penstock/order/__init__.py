"""Which item comes when: shuffle, rank and resume, as pure arithmetic on positions."""

from penstock.order.algebra import Order
from penstock.order.cipher import hash_position, permute, unpermute
from penstock.order.grid import Grid
from penstock.order.part import Skip, Take
from penstock.order.shuffle import Shuffle
from penstock.order.step import OrderStep

__all__ = ["Grid", "Order", "OrderStep", "Shuffle", "Skip", "Take", "hash_position", "permute", "unpermute"]
