"""Decoding: what a line says about it (``options``), and the Pillow party's own work on one image (``party``).

``import penstock`` must not import PIL: it is imported by the first image that needs it.
"""

from penstock.decode.options import Decode
from penstock.decode.party import Decoded, DecodeError, decode_picture, decode_pillow, opened

__all__ = ["Decode", "DecodeError", "Decoded", "decode_picture", "decode_pillow", "opened"]
