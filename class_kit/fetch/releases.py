"""What is published, where, and how its content is pinned: one table for fetching and for checking what lies there."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

RAW_FILES = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class PinnedFile:
    """One file of a public repository at one commit, and the git blob id of its content."""

    repository: str
    commit: str
    path: str
    blob: str

    @property
    def name(self) -> str:
        """File name without folders, under which it is kept."""
        return self.path.rsplit("/", 1)[-1]

    def url(self, base: str = RAW_FILES) -> str:
        """Where the raw file is served."""
        return f"{base}/{self.repository}/{self.commit}/{self.path}"


_MOLT5 = ("blender-nlp/MolT5", "754f9bffa4a638e2f1386d0ca19b5c3ed0a5b4aa")

PINNED = {
    "chebi20": (
        PinnedFile(*_MOLT5, "ChEBI-20_data/train.txt", "c1b42b82fdc8fb5287614e159196e25370763aac"),
        PinnedFile(*_MOLT5, "ChEBI-20_data/validation.txt", "694d328d621966d5c9ad0f36083fdfcf293191d5"),
        PinnedFile(*_MOLT5, "ChEBI-20_data/test.txt", "cf6da70d55c2745c6e64cf6864ea8cdbcdc80663"),
    ),
    "mol2vec": (
        PinnedFile(
            "cnedwards/text2mol",
            "749f997e6a45d0e3c8747e5392ae3b859a251094",
            "data/token_embedding_dict.npy",
            "75b80856ca76fca3e403155f1dfaa15bdaf93ffe",
        ),
        PinnedFile(
            "samoturk/mol2vec",
            "850d944d5f48a58e26ed0264332b5741f72555aa",
            "examples/models/model_300dim.pkl",
            "9089140e323a89e74a8b8cb47107611f89dc8e54",
        ),
    ),
}


def git_blob_id(path: str | os.PathLike[str]) -> str:
    """Return the id that git gives a file's content: SHA-1 over `blob <size>\\0` and the bytes.

    Public repositories pin their files by it, and it covers the size as well.
    """
    digest = hashlib.sha1(f"blob {os.path.getsize(path)}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
