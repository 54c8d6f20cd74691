"""Where items come from: one file a source, each a table that can tell in bulk where its bytes are."""

from penstock.sources.arrays import ArraysSource, arrays_source
from penstock.sources.blobs import BlobsSource, blobs_source
from penstock.sources.files import FilesSource, files_source
from penstock.sources.folder import EXTENSIONS, FolderSource, folder_source
from penstock.sources.names import NameTable
from penstock.sources.source import Locations, PathTable, Source
from penstock.sources.tar import TarSource, tar_source

__all__ = [
    "EXTENSIONS",
    "ArraysSource",
    "BlobsSource",
    "FilesSource",
    "FolderSource",
    "Locations",
    "NameTable",
    "PathTable",
    "Source",
    "TarSource",
    "arrays_source",
    "blobs_source",
    "files_source",
    "folder_source",
    "tar_source",
]
