"""Figures are read one step late."""

import torch

from loopverse.training.late import Late


def test_every_step_comes_back_once_in_order_with_its_own_figures() -> None:
    late = Late()
    seen = [
        late.push({"step": step}, [step], {"loss": torch.tensor(step / 2)}) for step in range(4)
    ]
    seen.append(late.flush())
    assert seen[0] is None
    assert [reading.row["step"] for reading in seen[1:] if reading] == [0, 1, 2, 3]
    assert [reading.figures["loss"] for reading in seen[1:] if reading] == [0, 0.5, 1, 1.5]
    assert late.flush() is None
