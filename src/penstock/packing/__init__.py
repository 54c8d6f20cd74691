"""A source as shards, once, to be carried anywhere: tars as WebDataset names them, or Hugging Face's Parquet."""

from penstock.packing.fill import pack
from penstock.packing.packed import Packed

__all__ = ["Packed", "pack"]
