"""Curriculum learning for cross-modal text–molecule retrieval: CLASS (arXiv 2502.11633) and its controls.

The public names are listed in `__init__.pyi` and loaded when first used, so that `import class_kit` costs nothing of
torch, transformers, RDKit or Matplotlib; a reader of counts and schedules never pays for an encoder.
"""

from typing import Any

import lazy_loader

from class_kit.terminal import interrupts_held

__version__ = "0.1.0"
_load, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = [*_names, "__version__"]


def __getattr__(name: str) -> Any:
    with interrupts_held():
        return _load(name)
