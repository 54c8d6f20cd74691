"""Where items come from: one file a source, each a table that can tell in bulk where its bytes are."""

from penstock.sources.arrays import ArraysSource, arrays_source
from penstock.sources.blobs import BlobsSource, blobs_source
from penstock.sources.csv_file import CsvSource, csv_source
from penstock.sources.files import FilesSource, files_source
from penstock.sources.folder import EXTENSIONS, FolderSource, folder_source
from penstock.sources.hf import HFSource, hf_source
from penstock.sources.jsonl import JsonlSource, jsonl_source
from penstock.sources.names import NameTable
from penstock.sources.parquet import ParquetSource, parquet_source
from penstock.sources.source import Locations, PathTable, Source
from penstock.sources.tar import TarSource, tar_source

__all__ = [
    "EXTENSIONS",
    "ArraysSource",
    "BlobsSource",
    "CsvSource",
    "FilesSource",
    "FolderSource",
    "HFSource",
    "JsonlSource",
    "Locations",
    "NameTable",
    "ParquetSource",
    "PathTable",
    "Source",
    "TarSource",
    "arrays_source",
    "blobs_source",
    "csv_source",
    "files_source",
    "folder_source",
    "hf_source",
    "jsonl_source",
    "parquet_source",
    "tar_source",
]
