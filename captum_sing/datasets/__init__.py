"""Pictures from what one has (a folder, a dataset, a list, a stream), preprocessed in batches."""

from captum_sing.datasets.batches import Batch, Unusable, read_batches
from captum_sing.datasets.pictures import ENDINGS, Picture, Pictures

__all__ = ["ENDINGS", "Batch", "Picture", "Pictures", "Unusable", "read_batches"]
