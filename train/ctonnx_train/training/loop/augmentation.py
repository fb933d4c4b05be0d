"""What training does to images: a batch at a time, on the device that trains."""

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Augmentation"]


class Augmentation:
    """Rotation, zoom, shift and horizontal flip in one bilinear resampling, and brightness; other for each image.

    torchvision's transforms change one image at a time on the CPU, or all images of a batch alike. Here a batch is
    changed in one step where it lies, so that a GPU does not wait for the CPU.

    Args:
        degrees: Largest rotation to either side.
        zoom: Largest relative change of size.
        shift: Largest shift, as a share of width and height.
        brightness: Largest relative change of brightness.
    """

    def __init__(
        self, *, degrees: float = 15.0, zoom: float = 0.15, shift: float = 0.08, brightness: float = 0.2
    ) -> None:
        self.degrees = degrees
        self.zoom = zoom
        self.shift = shift
        self.brightness = brightness

    @classmethod
    def of_strength(cls, strength: float) -> "Augmentation":
        """Returns the augmentation with each change `strength` times as large, but for the flip.

        >>> Augmentation.of_strength(0.5).degrees
        7.5
        """
        whole = cls()
        return cls(
            degrees=strength * whole.degrees,
            zoom=strength * whole.zoom,
            shift=strength * whole.shift,
            brightness=strength * whole.brightness,
        )

    def __call__(self, images: Tensor, size: int | None = None) -> Tensor:
        """Returns changed copies; the images' device's default generator draws the changes.

        Args:
            images: uint8 [batch, channels, height, width].
            size: Height and width of the result; None keeps those of the images.

        Returns:
            float32 from 0 to 255, [batch, channels, size, size]; what comes from outside an image is black.
        """
        batch, channels, height, width = images.shape
        shape = [batch, channels, size or height, size or width]

        def draw(largest: float) -> Tensor:
            return (torch.rand(batch, device=images.device) * 2 - 1) * largest

        angle = draw(math.radians(self.degrees))
        scale = 1 / (1 + draw(self.zoom))  # the grid says where each pixel comes from: a larger image, a smaller step
        flip = torch.where(draw(1.0) < 0, -1.0, 1.0)
        shift_x, shift_y = 2 * draw(self.shift), 2 * draw(self.shift)  # the grid runs from -1 to 1
        cosine, sine = angle.cos() * scale, angle.sin() * scale
        first = torch.stack([cosine * flip, -sine * height / width, shift_x], dim=1)
        second = torch.stack([sine * flip * width / height, cosine, shift_y], dim=1)
        grid = functional.affine_grid(torch.stack([first, second], dim=1), shape, align_corners=False)
        moved = functional.grid_sample(images.float(), grid, mode="bilinear", align_corners=False)
        return (moved * (1 + draw(self.brightness)).view(batch, 1, 1, 1)).clamp(0, 255)
