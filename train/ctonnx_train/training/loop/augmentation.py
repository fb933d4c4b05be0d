"""Augmentation of a batch of training images on the training device."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from ctonnx_train.training.loop.acquisition import Acquisition

__all__ = ["Augmentation"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random rotation, zoom, shift and horizontal flip in one bilinear resampling, and brightness, per image.

    torchvision's transforms process one image at a time on the CPU, or change all images of a batch alike. Here a batch
    is augmented in one step on its device, so that a GPU does not wait for the CPU.

    Attributes:
        degrees: Maximum rotation in either direction.
        zoom: Maximum relative change of size.
        shift: Maximum shift, as a fraction of width and height.
        brightness: Maximum relative change of brightness, if `acquisition` does not change it.
        acquisition: Changes as if the scan had been acquired otherwise, or None.
    """

    degrees: float = 15.0
    zoom: float = 0.15
    shift: float = 0.08
    brightness: float = 0.2
    acquisition: Acquisition | None = None

    @classmethod
    def of_strength(cls, strength: float, *, acquisition: Acquisition | None = None) -> "Augmentation":
        """Returns the default augmentation with all its ranges multiplied by `strength`, 0 to 1.

        Of the changes of the acquisition, the shares of changed images are multiplied. The flip is unaffected.

        >>> Augmentation.of_strength(0.5).degrees
        7.5
        """
        return cls(
            degrees=strength * cls.degrees,
            zoom=strength * cls.zoom,
            shift=strength * cls.shift,
            brightness=strength * cls.brightness,
            acquisition=acquisition and acquisition.scaled(strength),
        )

    def at(self, progress: float) -> "Augmentation":
        """Returns the augmentation at a progress of the training, 0 to 1; see `Acquisition.scaled`."""
        return replace(self, acquisition=self.acquisition and self.acquisition.scaled(progress))

    def __call__(self, images: Tensor, size: int | None = None) -> Tensor:
        """Returns augmented copies; random numbers come from the default generator of the images' device.

        Args:
            images: uint8 [batch, channels, height, width].
            size: Height and width of the result; None keeps those of the images.

        Returns:
            float32 from 0 to 255, [batch, channels, size, size]; pixels from outside an image are black.
        """
        with torch.autocast(images.device.type, enabled=False):  # bf16 has too few digits for places and grey values
            return self._augmented(images, size)

    def _augmented(self, images: Tensor, size: int | None) -> Tensor:
        batch, channels, height, width = images.shape
        shape = [batch, channels, size or height, size or width]

        def draw(largest: float) -> Tensor:
            return (torch.rand(batch, device=images.device) * 2 - 1) * largest

        angle = draw(math.radians(self.degrees))
        scale = 1 / (1 + draw(self.zoom))  # the grid maps output to input: smaller steps enlarge the image
        flip = torch.where(draw(1.0) < 0, -1.0, 1.0)
        shift_x, shift_y = 2 * draw(self.shift), 2 * draw(self.shift)  # the grid ranges from -1 to 1
        cosine, sine = angle.cos() * scale, angle.sin() * scale
        first = torch.stack([cosine * flip, -sine * height / width, shift_x], dim=1)
        second = torch.stack([sine * flip * width / height, cosine, shift_y], dim=1)
        affine = torch.stack([first, second], dim=1)
        if self.acquisition is not None:
            affine = affine / torch.stack(self.acquisition.sides(batch, images.device), dim=1).unsqueeze(2)
        grid = functional.affine_grid(affine, shape, align_corners=False)
        moved = functional.grid_sample(images.float(), grid, mode="bilinear", align_corners=False)
        if self.acquisition is not None:
            return self.acquisition(moved)
        return (moved * (1 + draw(self.brightness)).view(batch, 1, 1, 1)).clamp(0, 255)
