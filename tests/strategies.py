"""What hypothesis may draw: masks of every kind."""

import torch
from hypothesis import strategies as st

from loopverse.nn import Attend


@st.composite
def attends(draw: st.DrawFn, rows: int, length: int) -> Attend:
    """Causal or not, with or without padding, with or without documents packed in a row."""

    def table(entry: st.SearchStrategy) -> torch.Tensor | None:
        if not draw(st.booleans()):
            return None
        return torch.tensor([[draw(entry) for _ in range(length)] for _ in range(rows)])

    return Attend(draw(st.booleans()), table(st.booleans()), table(st.integers(0, 2)))
