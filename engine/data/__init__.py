"""Data for training: `gl.data`. Examples from files and datasets, in batches, epoch after epoch."""

from typing import TYPE_CHECKING

from ..tracing.missing_names import attributes_of
from .array_files import DataError, read_idx, read_npy, read_npz
from .arrays import Arrays
from .batches import batches
from .images import ImageFolder
from .iterables import Batches
from .loader import Loader
from .padding import Buckets, pad_sequences
from .split import Subset, split
from .tables import categories, read_csv, read_parquet
from .text import BPETokenizer, ByteTokenizer, CharTokenizer, Windows, read_text

__all__ = [
    "Arrays",
    "BPETokenizer",
    "Batches",
    "Buckets",
    "ByteTokenizer",
    "CharTokenizer",
    "DataError",
    "ImageFolder",
    "Loader",
    "Subset",
    "Windows",
    "batches",
    "categories",
    "pad_sequences",
    "read_csv",
    "read_idx",
    "read_npy",
    "read_npz",
    "read_parquet",
    "read_text",
    "split",
]

if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "gl.data")
__dir__ = __all__.copy
