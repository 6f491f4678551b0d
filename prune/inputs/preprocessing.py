"""How images are brought into the form that a network takes, as far as the user decides it."""

from dataclasses import dataclass

from ..checks import LARGEST_SIDE, is_finite
from ..errors import UsageError
from ..options import ChannelOrder
from .split import GIVEN, Source


@dataclass(frozen=True)
class Preprocessing:
    """Size and normalisation of the inputs; what is None is left to the data.

    Attributes:
        channels: 3 for colour images, 1 for grey ones.
        size: height and width, in pixels.
        mean, std: per channel, of pixels scaled to 0..1, in the order of the channels.
        channel_order: None is rgb.

    Raises:
        UsageError: a value is out of range, or there is not one for every channel.
    """

    channels: int | None = None
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channel_order: ChannelOrder | None = None

    def __post_init__(self) -> None:
        if self.channels is not None and self.channels < 1:
            raise UsageError(f"`input_size` of {self.channels} channels given; expected 1 or more")
        if self.is_bgr and self.channels not in (None, 3):
            raise UsageError(
                f"`channel_order=bgr` given for inputs of {self.channels} channels; expected 3; "
                "leave it out"
            )
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

    @property
    def is_bgr(self) -> bool:
        """Whether the channels are turned round."""
        return self.channel_order == "bgr"

    @property
    def order_source(self) -> Source:
        """Where the order of the channels comes from."""
        return GIVEN if self.channel_order else Source("usual", is_guess=True)

    def size_source(self, default: Source) -> Source:
        """Where the size comes from, if the data set's own is from `default`."""
        return GIVEN if self.size else default

    def scale_source(self, default: Source) -> Source:
        """Where mean and std come from, if what was not given is from `default`."""
        if self.mean and self.std:
            return GIVEN
        if not (self.mean or self.std):
            return default
        given, other = ("mean", "std") if self.mean else ("std", "mean")
        return Source(f"{given}: given; {other}: {default.words}", default.is_guess)

    def of_pictures(self, channels: int) -> int:
        """Channels that pictures are read with.

        Args:
            channels: what the pictures are, 1 or 3.

        Raises:
            UsageError: a picture has no so many channels.
        """
        if self.channels not in (None, 1, 3):
            raise UsageError(
                f"`input_size` of {self.channels} channels given, or a network that takes so many; "
                "expected 1 or 3, as pictures have; give `data=package.module:callable` with data "
                "sets of such inputs"
            )
        if self.is_bgr and (self.channels or channels) == 1:
            raise UsageError(
                "`channel_order=bgr` given for grey pictures, of one channel; leave it out"
            )
        return self.channels or channels

    @staticmethod
    def of(
        input_size: int | tuple[int, ...] | None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        channel_order: ChannelOrder | None = None,
    ) -> "Preprocessing":
        """From an input size: one number for height and width, or both, or channels before them.

        Raises:
            UsageError: more numbers than three, or none.

        >>> Preprocessing.of(32).size, Preprocessing.of((1, 28, 30)).channels
        ((32, 32), 1)
        """
        sides = (input_size,) if isinstance(input_size, int) else input_size
        if sides is None:
            return Preprocessing(None, None, mean, std, channel_order)
        if len(sides) not in (1, 2, 3):
            raise UsageError(
                f"`input_size` of {len(sides)} numbers given; expected one for height and width, "
                "or both: 128 64"
            )
        channels = sides[0] if len(sides) == 3 else None
        size = (sides[0], sides[0]) if len(sides) == 1 else (sides[-2], sides[-1])
        return Preprocessing(channels, size, mean, std, channel_order)
