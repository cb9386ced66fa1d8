"""The pieces of torch_geometric that backbones use, imported in one place.

The library compiles helpers with `torch.jit.script` while it is imported, which the pinned torch reports as
deprecated; nothing a user of the kit could change. The warning is kept from them here and nowhere else.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
    from torch_geometric.nn import GCNConv as GCNConv
    from torch_geometric.nn import TransformerConv as TransformerConv
    from torch_geometric.nn import global_max_pool as global_max_pool
    from torch_geometric.nn import global_mean_pool as global_mean_pool
    from torch_geometric.utils import to_dense_batch as to_dense_batch
