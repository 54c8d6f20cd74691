"""Pillow's plugins for HEIC and JPEG XL: found when the first such picture comes, never before."""

from __future__ import annotations

import importlib

__all__ = ["MissingPluginError", "load_plugin"]

# Format: Pillow's names for it, how people call it, the module of its plugin, the package to install.
_PLUGINS: dict[str, tuple[frozenset[str], str, str, str]] = {
    "HEIF": (frozenset({"HEIF", "HEIC"}), "HEIC", "pillow_heif", "pillow-heif"),
    "JXL": (frozenset({"JXL", "JPEGXL", "JPEG XL"}), "JPEG XL", "pillow_jxl", "pillow-jxl-plugin"),
}


class MissingPluginError(Exception):
    """What Pillow lacks for a picture is not installed; the text is the sentence without its final stop."""


def load_plugin(kind: str) -> None:
    """Sees to it that Pillow knows the format ("HEIF" or "JXL"); raises MissingPluginError.

    Whatever is registered already stays. Python imports a module once, whichever threads ask, and to register a format
    twice changes nothing, so this needs no lock that a forked child could inherit.
    """
    from PIL import Image

    names, title, module, package = _PLUGINS[kind]
    if not names.isdisjoint(Image.ID):
        return
    try:
        plugin = importlib.import_module(module)
        register = getattr(plugin, "register_heif_opener", None)
        if register is not None:  # the others register themselves when they are imported
            register()
    except ImportError:
        raise MissingPluginError(
            f"expected a Pillow plugin for {title}, found none; install it with: pip install {package}"
        ) from None
    except Exception as error:
        raise MissingPluginError(
            f"expected a Pillow plugin for {title}, found one that does not start: {' '.join(str(error).split())}"
        ) from None
