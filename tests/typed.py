"""The type checker behind jaxtyping's hook: beartype, for which a whole number is a number too.

    pytest --jaxtyping-packages=loopverse.nn,typed.checked tests/nn/test_attention.py

The hook checks the shapes in signatures while the tests run. It is not for all of them: a compiled
graph breaks under it, and a generator loses its `torch.no_grad`.
"""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
