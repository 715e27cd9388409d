"""Linear layers that keep their weights in 4 bits: NF4 with double quantisation, by bitsandbytes.

Dettmers et al. 2023 (QLoRA): a block of 64 weights is divided by its largest magnitude, and each is
rounded to the nearest of 16 values that cut a normal distribution into equal parts. From these
magnitudes their mean is taken, and they are rounded to 8 bits in blocks of 256.

The weights are multiplied as what they stand for, in the model's own precision, in training and in
scoring alike. bitsandbytes' own layer is not used: on a CPU that has bfloat16 products it packs its
weights anew when it is first scored, and then answers in bfloat16, whatever the model's precision.
"""

import torch
from torch import nn
from torch.nn import functional

from .load import pick_device
from .parts import backbone

BLOCK, SCALES = 64, 256
"""Weights that share a scale, and scales that share one."""


def quantise(model: nn.Module) -> None:
    """Put the weights of a model's linear layers, the readout's apart, into 4 bits.

    One layer after the other, on the GPU if there is one; the result stays on the CPU. These are
    the layers that transformers takes too (`BitsAndBytesConfig`).
    """
    layers, device = backbone(model), pick_device()
    for name, module in [*layers.named_modules()]:
        if type(module) is nn.Linear:
            layers.set_submodule(name, FourBitLinear(module, device))


class FourBitLinear(nn.Linear):
    """A frozen linear layer whose weights [outputs, inputs] are in 4 bits.

    `weight` [inputs × outputs / 2, 1] has two of them in each byte, `scales` a byte for each
    `BLOCK` of them. They are multiplied in the type that the layer's own weights had, which is
    that of what comes in.
    """

    def __init__(self, linear: nn.Linear, device: torch.device):
        """Quantise the weights of `linear` on a device; keeps its bias."""
        from bitsandbytes.functional import quantize_4bit

        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.kind = linear.weight.dtype
        packed, state = quantize_4bit(
            linear.weight.detach().to(device),
            blocksize=BLOCK, quant_type="nf4", compress_statistics=True,
        )  # fmt: skip
        # Parameters, of which all seeds of a job share the frozen ones.
        for name, tensor in (
            ("weight", packed),
            ("scales", state.absmax),
            ("scales_of_scales", state.state2.absmax),
            ("mean_scale", state.offset),
        ):
            setattr(self, name, nn.Parameter(tensor.to("cpu"), requires_grad=False))
        self.register_buffer("values", state.code.to("cpu"), persistent=False)
        self.register_buffer("scale_values", state.state2.code.to("cpu"), persistent=False)
        self.bias = linear.bias

    @property
    def packed_weights(self) -> int:
        """Return how many more weights there are than elements of the parameters that hold them."""
        held = (self.weight, self.scales, self.scales_of_scales, self.mean_scale)
        return self.in_features * self.out_features - sum(each.numel() for each in held)

    def dequantised(self) -> torch.Tensor:
        """Return the weights [outputs, inputs] that the 4 bits stand for."""
        from bitsandbytes.functional import QuantState, dequantize_4bit

        scales = QuantState(
            self.scales_of_scales, code=self.scale_values, blocksize=SCALES, dtype=torch.float32
        )
        state = QuantState(
            self.scales,
            shape=torch.Size((self.out_features, self.in_features)),
            code=self.values,
            blocksize=BLOCK,
            quant_type="nf4",
            dtype=self.kind,
            offset=self.mean_scale,
            state2=scales,
        )
        return dequantize_4bit(self.weight, state)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return [..., outputs] of `inputs` [..., inputs]."""
        return _Product.apply(inputs, self)


class _Product(torch.autograd.Function):
    """The product with weights that are made again for its gradient: autograd would keep them."""

    @staticmethod
    def forward(ctx, inputs: torch.Tensor, layer: FourBitLinear) -> torch.Tensor:
        ctx.layer = layer
        return functional.linear(inputs, layer.dequantised(), layer.bias)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient @ ctx.layer.dequantised(), None
