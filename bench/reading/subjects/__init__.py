"""Who is asked: floors, ourselves, peers with their own readers. A subject imports its library when it is made."""

from typing import Final

ORDER: Final = (
    "numpy_floor",
    "polars_floor",
    "barograph",
    "barograph_sealed",
    "trackio",
    "aim",
    "tensorboard",
    "mlflow",
)
