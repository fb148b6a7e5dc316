"""The `datasets` section of params.yaml: where images come from and what they must look like."""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

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
Fit = Literal["resize", "pad", "crop"]
Order = Literal["planes", "pixels", "lines"]
"""In which the bytes of an image are taken to be: all of a colour, then the next, as CIFAR-10 has
them; or the colours of each pixel side by side; or those of each line one after another."""
LONGEST_SIDE = 4096
UNEQUAL = 2
"""That of `cnn_ablations.training.summary`, which is part of every training."""
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def accuracy_misleads(counts: Iterable[int]) -> bool:
    """Whether the balanced accuracy says more, given how many test images each class has: where the
    largest has more than twice as many as the smallest that has any.
    """
    some = [count for count in counts if count]
    return max(some) > UNEQUAL * min(some)


class _Dataset(ClosedModel):
    title: str
    image_shape: Annotated[list[PositiveInt], Len(3, 3)]
    """Height, width, channels."""
    classes: Annotated[list[str], Len(2, 65_535)]
    """Class names in the order of the labels 0, 1, ..."""
    citation: str
    images: PositiveInt | None = None
    """To train on, as `dataset add` counts them: what `plan` goes by before there are arrays."""
    unequal_classes: bool = False
    """Whether accuracy misleads, so that a new study's claims are about the balanced accuracy."""
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
    archive: FileName | None = None
    """Without one the addresses hold the members themselves."""
    members: Annotated[dict[FileName, Sha256], Len(7, 7)]
    """The seven files inside the archive: what is verified, since an archive can be packed anew."""
    order: Order = "planes"
    """Another than the archive's mixes up colours and places, on purpose."""


class DrawnSplit(ClosedModel):
    """Draws the test images of a source that has none of its own: of each class the same share, but
    as many images as there are classes at least.
    """

    test: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    random_state: Annotated[int, Field(ge=0, lt=2**32)] = 0


class _OwnDataset(_Dataset):
    source: Annotated[str, Field(min_length=1)]
    """A path, from the checkout's folder if it is relative, or the address of a file."""
    sha256: Sha256
    split: DrawnSplit | None = None
    """Of a source that has no test images, and of no other."""

    @property
    def urls(self) -> list[str]:
        """Where the source is."""
        return [self.source.rpartition("/")[0] or "."]


class FolderDataset(_OwnDataset):
    """Images in a folder for each class, or a zip archive of them.

    `sha256` is that of `data.folder.content_hash`, the same for a folder and for an archive of it.
    """

    file: ClassVar[str] = "images.zip"
    """In data/raw: what the images are packed into."""
    format: Literal["folder"]
    fit: Fit = "resize"
    """How images come to their size: stretched; whole, with black beside them; or cut around their
    middle."""
    skip: list[str] = []
    """Files that cannot be read, by their path below the folder."""

    @field_validator("image_shape")
    @classmethod
    def _grey_or_colour(cls, shape: list[int]) -> list[int]:
        if shape[2] not in (1, 3) or max(shape) > LONGEST_SIDE:
            raise ValueError(
                f"must end in 1 (grey) or 3 (colour) and have sides of up to {LONGEST_SIDE:,} "
                f"pixels, but it is {shape}"
            )
        return shape


class NpzDataset(_OwnDataset):
    """NumPy's arrays in one file: uint8 images (n, height, width[, channels]), labels (n,)."""

    file: ClassVar[str] = "arrays.npz"
    """In data/raw."""
    format: Literal["npz"]


Dataset = DigitsDataset | IdxDataset | Cifar10Dataset | FolderDataset | NpzDataset
dataset_adapter: TypeAdapter[Dataset] = TypeAdapter(
    Annotated[Dataset, Field(discriminator="format")]
)
