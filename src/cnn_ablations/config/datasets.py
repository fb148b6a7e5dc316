"""The `datasets` section of params.yaml: where images come from and what they must look like."""

from typing import Annotated, Literal

from annotated_types import Len
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationInfo,
    field_validator,
)

from cnn_ablations.config.base import ClosedModel, nearest

FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
"""A name without folders: it is joined to a folder of this project."""
Role = Literal["train_images", "train_labels", "test_images", "test_labels"]
Order = Literal["planes", "pixels", "lines"]
"""In which the bytes of an image are taken to be: all of a colour, then the next, as CIFAR-10 has
them; or the colours of each pixel side by side; or those of each line one after another."""
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Dataset(ClosedModel):
    title: str
    image_shape: Annotated[list[PositiveInt], Len(3, 3)]
    """Height, width, channels."""
    classes: Annotated[list[str], Len(2, 65_535)]
    """Class names in the order of the labels 0, 1, ..."""
    citation: str
    showcase: NonNegativeInt = 0
    """The index of the training image that the data set's notebook shows at full size."""
    example_classes: list[str] = Field(default=[], validate_default=True)
    """The classes of which a variant's notebook shows examples; by default the first one."""

    @field_validator("example_classes")
    @classmethod
    def _name_classes(cls, names: list[str], info: ValidationInfo) -> list[str]:
        classes = info.data.get("classes", names)
        for name in names:
            if name not in classes:
                raise ValueError(f"names '{name}', which is no class{nearest(name, classes)}")
        return names or classes[:1]


class DigitsDataset(_Dataset):
    """scikit-learn's own 1,797 images of 8x8 pixels: nothing to download."""

    format: Literal["digits"]


class IdxDataset(_Dataset):
    """Four gzipped IDX files, as MNIST is published (http://yann.lecun.com/exdb/mnist/)."""

    format: Literal["idx"]
    urls: Annotated[list[str], Len(1)]
    """Addresses that hold the files, ending in '/', in the order in which they are tried."""
    files: Annotated[dict[Role, "IdxFile"], Len(4, 4)]


class IdxFile(ClosedModel):
    name: FileName
    sha256: Sha256


class Cifar10Dataset(_Dataset):
    """The archive of pickles that https://www.cs.toronto.edu/~kriz/cifar.html describes."""

    format: Literal["cifar10"]
    urls: Annotated[list[str], Len(1)]
    """Folders that hold the archive, ending in '/', in the order in which they are tried."""
    archive: FileName
    members: Annotated[dict[FileName, Sha256], Len(7, 7)]
    """The seven files inside the archive: what is verified, since an archive can be packed anew."""
    order: Order = "planes"
    """Another than the archive's mixes up colours and places, on purpose."""


Dataset = DigitsDataset | IdxDataset | Cifar10Dataset
dataset_adapter: TypeAdapter[Dataset] = TypeAdapter(
    Annotated[Dataset, Field(discriminator="format")]
)
