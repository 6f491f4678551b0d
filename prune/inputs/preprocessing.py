"""How images are brought into the form that a network takes, as far as the user decides it."""

from dataclasses import dataclass

from ..checks import LARGEST_SIDE, is_finite
from ..errors import UsageError


@dataclass(frozen=True)
class Preprocessing:
    """Size and normalisation of the inputs; what is None is left to the data.

    Attributes:
        channels: 3 for colour images, 1 for grey ones.
        size: height and width, in pixels.
        mean, std: per channel, of pixels scaled to 0..1.

    Raises:
        UsageError: a value is out of range, or there is not one for every channel.
    """

    channels: int | None = None
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.channels not in (None, 1, 3):
            raise UsageError(f"`input_size` of {self.channels} channels given; expected 1 or 3")
        for side in self.size or ():
            if not 1 <= side <= LARGEST_SIDE:
                raise UsageError(f"`input_size={side}` given; expected 1 to {LARGEST_SIDE} pixels")
        self._check_channels("mean", self.mean)
        self._check_channels("std", self.std)
        if self.std is not None and min(self.std) <= 0:
            raise UsageError(f"`std={min(self.std)}` given; expected values above 0")

    def _check_channels(self, option: str, values: tuple[float, ...] | None) -> None:
        if values is not None and not all(map(is_finite, values)):
            raise UsageError(f"`{option}={values}` given; expected finite numbers")
        if values is None or len(values) in ((self.channels,) if self.channels else (1, 3)):
            return
        expected = self.channels or "1 or 3"
        raise UsageError(
            f"`{option}` of {len(values)} values given; expected {expected}, one for every channel"
        )

    @staticmethod
    def of(
        input_size: int | tuple[int, int, int] | None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> "Preprocessing":
        """From an input size: channels, height and width, or one number for height and width.

        >>> Preprocessing.of(32).size
        (32, 32)
        """
        if isinstance(input_size, tuple):
            return Preprocessing(input_size[0], input_size[1:], mean, std)
        size = None if input_size is None else (input_size, input_size)
        return Preprocessing(None, size, mean, std)
