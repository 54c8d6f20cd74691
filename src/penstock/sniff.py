"""What bytes are, by their content alone: the formats that need a plugin, and words for what is no image."""

from __future__ import annotations

__all__ = ["describe_bytes", "plugin_format"]

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "the beginning of a JPEG"),
    (b"\x89PNG\r\n\x1a\n", "the beginning of a PNG"),
    (b"GIF8", "the beginning of a GIF"),
    (b"BM", "the beginning of a BMP"),
    (b"II*\0", "the beginning of a TIFF"),
    (b"MM\0*", "the beginning of a TIFF"),
    (b"\0\0\0\x0cjP  ", "the beginning of a JPEG 2000"),
    (b"\xff\x0a", "a JPEG XL codestream"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ", "xz data"),
    (b"\x28\xb5\x2f\xfd", "Zstandard data"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript with a preview"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array file"),
    (b"PAR1", "a Parquet file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"OggS", "an Ogg file"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"ID3", "an MP3 file"),
    (b"8BPS", "the beginning of a Photoshop file"),
    (b"version https://git-lfs", "a Git LFS pointer"),
    (b"v/1\x01", "an OpenEXR file"),
    (b"#?RADIANCE", "a Radiance HDR file"),
    (b"\x80\x02", "a Python pickle"),
)
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF = _HEIC | {b"mif1", b"msf1"}
_AVIF = {b"avif", b"avis"}


def plugin_format(data: bytes) -> str | None:
    """The format, "HEIF" or "JXL", of ``data`` that Pillow decodes only with a plugin; else None.

    A general HEIF brand (mif1, msf1) names its codec among the compatible brands; with AVIF's it is Pillow's own.
    """
    if data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "JXL"
    if data[4:8] != b"ftyp" or data[8:12] not in _HEIF:
        return None
    end = min(int.from_bytes(data[:4], "big"), len(data), 512)
    compatible = {data[at : at + 4] for at in range(16, end - 3, 4)}
    if data[8:12] not in _HEIC and compatible & _AVIF:
        return None
    return "HEIF"


def describe_bytes(data: bytes) -> str:
    """What ``data`` is like: ``0 bytes``, ``bytes 50 4b 03 04 (a ZIP archive)``, ``HTML ('<!DOCTYPE html')``."""
    if not data:
        return "0 bytes"
    shown = f"bytes {data[:4].hex(' ')}"
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return f"{shown} ({name})"
    if data[4:8] == b"ftyp":
        return f"{shown} ({_brand(data[8:12])})"
    if data[:4] == b"RIFF" and len(data) >= 12:
        kind = data[8:12].decode("latin-1")
        return f"{shown} (the beginning of a WebP)" if kind == "WEBP" else f"{shown} (a RIFF file of kind {kind!r})"
    if data[257:262] == b"ustar":
        return f"{shown} (a tar archive)"
    head = data[:512]
    if not any(head):
        return f"{shown} ({'nothing but' if not any(data) else 'begins with'} zero bytes)"
    text = _text(head)
    if text is not None:
        return text
    return f"{shown} ({len(data):,} bytes that no known image begins with)"


def _brand(brand: bytes) -> str:
    if brand in _HEIF:
        return "a HEIF picture"
    if brand in _AVIF:
        return "the beginning of an AVIF"
    return f"an MP4-like file of brand {brand.decode('latin-1').strip()!r}"


def _text(head: bytes) -> str | None:
    """What kind of text ``head`` is, with its beginning; None where it is no text."""
    if any(byte < 32 and byte not in b"\t\n\r\f" for byte in head):
        return None
    try:
        # A character may be cut in two at the end of the 512 bytes.
        words = head.decode("utf-8", "strict" if len(head) < 512 else "ignore").lstrip("\ufeff \t\r\n")
    except UnicodeDecodeError:
        return None
    lowered = words.lower()
    kind = "text"
    if lowered.startswith(("<!doctype html", "<html")):
        kind = "HTML text"
    elif lowered.startswith("<svg") or "<svg" in lowered:
        kind = "an SVG drawing"
    elif lowered.startswith("<?xml"):
        kind = "XML text"
    elif lowered.startswith(("{", "[")):
        kind = "JSON-like text"
    beginning = " ".join(words.split())
    return f"{kind} ({beginning[:32]!r}{'...' if len(beginning) > 32 else ''})"
