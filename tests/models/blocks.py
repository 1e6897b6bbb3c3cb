#!/usr/bin/python3
"""Export small random-weight blocks that the committed blocks of newer exporters do not cover.

Writes ../blocks/<block>__torch113_{eval_opset17,preserve_opset13}.onnx and the rows of these
files in ../blocks/INDEX.tsv: the convolutions that a perfect converter leaves, and whether one
plain convolution would be wrong at the border.  Needs Debian's python3-torch.  The tests never
run it; the files it makes are committed.
"""

from pathlib import Path
from typing import Callable, NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F

from modules import (ACBlock, DiverseBranchBlock, MobileOneBlock, RepVGGBlock, SqueezeExcite,
                     conv_bn)

FOLDER = Path(__file__).resolve().parent.parent / "blocks"
SEED = 2


# ---------------------------------------------------------------- the blocks

class Branches(nn.Module):
    """act(sum of branches of x)."""

    def __init__(self, act, *branches):
        super().__init__()
        self.branches, self.act = nn.ModuleList(branches), act

    def forward(self, x):
        first, *others = (branch(x) for branch in self.branches)
        return self.act(sum(others, first))


class PaddedRepVGG(nn.Module):
    """RepVGG whose 3x3 pads with pixels of the picture."""

    def __init__(self, cin, cout, mode):
        super().__init__()
        self.dense = nn.Sequential(
            nn.Conv2d(cin, cout, 3, padding=1, padding_mode=mode, bias=False),
            nn.BatchNorm2d(cout))
        self.point = conv_bn(cin, cout, 1)

    def forward(self, x):
        return F.relu(self.dense(x) + self.point(x))


class DOConv(nn.Module):
    """Cao et al., "DO-Conv", 2020: the kernel of a grouped 3x3 is computed from a depthwise one
    (with the identity added) and a conventional one."""

    def __init__(self, cin, cout, groups):
        super().__init__()
        taps = 9
        self.depth = nn.Parameter(torch.randn(cin // groups, taps, taps) * 0.1)
        self.register_buffer("eye", torch.eye(taps)[None])
        self.weight = nn.Parameter(torch.randn(cout, cin // groups, taps) * 0.2)
        self.bias = nn.Parameter(torch.randn(cout))
        self.groups = groups

    def forward(self, x):
        kernel = torch.einsum("ims,ois->oim", self.depth + self.eye, self.weight)
        kernel = kernel.reshape(*self.weight.shape[:2], 3, 3)
        return F.conv2d(x, kernel, self.bias, padding=1, groups=self.groups)


class Scale(nn.Module):
    """One learned factor a channel."""

    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(channels, 1, 1))

    def forward(self, x):
        return x * self.scale


class LinearAddition(nn.Module):
    """The block of RepOptimizers' hyper-search: ReLU(BN(s*conv3x3(x) + t*conv1x1(x) + i*x))."""

    def __init__(self, channels):
        super().__init__()
        def conv(kernel):
            return nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
        self.sum = Branches(nn.Identity(), nn.Sequential(conv(3), Scale(channels)),
                            nn.Sequential(conv(1), Scale(channels)), Scale(channels))
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return F.relu(self.norm(self.sum(x)))


class LargeKernel(nn.Module):
    """RepLKNet's block: BN, 1x1, depthwise large + small kernel, 1x1, and x."""

    def __init__(self, channels, large, small):
        super().__init__()
        def depthwise(kernel):
            return conv_bn(channels, channels, kernel, groups=channels)
        self.body = nn.Sequential(
            nn.BatchNorm2d(channels), conv_bn(channels, channels, 1), nn.ReLU(),
            Branches(nn.ReLU(), depthwise(large), depthwise(small)), conv_bn(channels, channels, 1))

    def forward(self, x):
        return x + self.body(x)


class ImplicitHead(nn.Module):
    """YOLOv7's head: a learned addition before, a learned factor after a 1x1 with bias."""

    def __init__(self, cin, cout):
        super().__init__()
        self.add = nn.Parameter(torch.randn(1, cin, 1, 1))
        self.factor = nn.Parameter(torch.randn(1, cout, 1, 1))
        self.conv = nn.Conv2d(cin, cout, 1)

    def forward(self, x):
        return self.factor * self.conv(x + self.add)


class Focus(nn.Module):
    """The stem of DAMO-YOLO: every second pixel of four phases as channels, then a 3x3."""

    def __init__(self, cin, cout):
        super().__init__()
        self.conv = conv_bn(4 * cin, cout, 3)

    def forward(self, x):
        phases = [x[:, :, ::2, ::2], x[:, :, 1::2, ::2], x[:, :, ::2, 1::2], x[:, :, 1::2, 1::2]]
        return F.silu(self.conv(torch.cat(phases, 1)))


class AveragedHeads(nn.Module):
    """RepViT's head with distillation: the mean of two times BN and a dense layer."""

    def __init__(self, channels, classes):
        super().__init__()
        def one():
            return nn.Sequential(nn.BatchNorm1d(channels), nn.Linear(channels, classes))
        self.plain, self.distilled = one(), one()

    def forward(self, x):
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return (self.plain(x) + self.distilled(x)) / 2


def repconv(channels, groups):
    """YOLOv7's RepConv: 3x3, 1x1 and identity, each with BatchNorm, and SiLU."""
    return Branches(nn.SiLU(), conv_bn(channels, channels, 3, groups=groups),
                    conv_bn(channels, channels, 1, groups=groups), nn.BatchNorm2d(channels))


class Gated(nn.Module):
    """MobileOne with squeeze and excitation: depthwise and pointwise block."""

    def __init__(self, cin, cout):
        super().__init__()
        self.dw = MobileOneBlock(cin, cin, 3, groups=cin, gate=SqueezeExcite(cin, 4))
        self.pw = MobileOneBlock(cin, cout, 1, gate=SqueezeExcite(cout, 4))

    def forward(self, x):
        return self.pw(self.dw(x))


class Block(NamedTuple):
    build: Callable[[], nn.Module]
    shape: tuple  # [C,H,W] of the input
    ideal: str
    refuse: bool = False


def acnet(kernel, padding):
    return Block(lambda: ACBlock(4, 6, kernel, padding), (4, 13, 12),
                 f"conv{kernel}x{kernel} 4->6 s1 p{padding}")


BLOCKS = {
    **{f"acnet_k{k}p{p}": acnet(k, p)
       for k, p in [(3, 1), (3, 0), (5, 1), (5, 2), (5, 3), (5, 4), (5, 6)]},
    "acnet_k5p1_s2": Block(lambda: ACBlock(4, 4, 5, 1, stride=2, groups=2), (4, 13, 12),
                           "conv5x5 4->4 s2 p1 g2"),
    "dbb_k5": Block(lambda: DiverseBranchBlock(4, 6, 5), (4, 11, 10), "conv5x5 4->6 s1 p2"),
    "dbb_s2_g2": Block(lambda: DiverseBranchBlock(4, 8, 3, 2, 2), (4, 11, 10),
                       "conv3x3 4->8 s2 p1 g2"),
    "dbb_dw_s2": Block(lambda: DiverseBranchBlock(6, 6, 3, 2, 6), (6, 11, 10),
                       "conv3x3 6->6 s2 p1 g6"),
    "dbb_zero_pad": Block(lambda: DiverseBranchBlock(4, 6, 3, bias_pad=False), (4, 11, 10),
                          "conv3x3 4->6 s1 p1", refuse=True),
    "repvgg_replicate": Block(lambda: PaddedRepVGG(4, 6, "replicate"), (4, 9, 8),
                              "conv3x3 4->6 s1 p0"),
    # Exported as slices and concatenations, not as a Pad: these stay, and so do both branches.
    # PyTorch 1.13 repeats the last row and column but one: nothing that wraps, and the 1x1 stays.
    "repvgg_circular": Block(lambda: PaddedRepVGG(4, 6, "circular"), (4, 9, 8),
                             "conv1x1 4->6 s1 p0; conv3x3 4->6 s1 p0"),
    "repvgg_g4": Block(lambda: nn.Sequential(RepVGGBlock(8, 8, 1, 4), RepVGGBlock(8, 12, 2, 4)),
                       (8, 9, 8), "conv3x3 8->12 s2 p1 g4; conv3x3 8->8 s1 p1 g4"),
    "yolov7_g2": Block(lambda: repconv(6, 2), (6, 9, 8), "conv3x3 6->6 s1 p1 g2"),
    "yolov7_implicit": Block(lambda: ImplicitHead(6, 9), (6, 5, 5), "conv1x1 6->9 s1 p0"),
    "doconv_g2": Block(lambda: nn.Sequential(DOConv(4, 6, 2), nn.BatchNorm2d(6), nn.ReLU()),
                       (4, 9, 8), "conv3x3 4->6 s1 p1 g2"),
    "linear_addition": Block(lambda: LinearAddition(5), (5, 9, 8), "conv3x3 5->5 s1 p1"),
    "replknet": Block(lambda: LargeKernel(6, 13, 5), (6, 16, 15),
                      "conv13x13 6->6 s1 p6 g6; conv1x1 6->6 s1 p0; conv1x1 6->6 s1 p0"),
    "mobileone_gated": Block(lambda: Gated(8, 12), (8, 9, 8),
                             "conv1x1 12->3 s1 p0; conv1x1 2->8 s1 p0; conv1x1 3->12 s1 p0; "
                             "conv1x1 8->12 s1 p0; conv1x1 8->2 s1 p0; conv3x3 8->8 s1 p1 g8"),
    "focus": Block(lambda: Focus(3, 6), (3, 12, 10), "conv6x6 3->6 s2 p2"),
    "repcpe": Block(lambda: Branches(nn.Identity(), nn.Conv2d(6, 6, 7, padding=3, groups=6),
                                     nn.Identity()), (6, 9, 8), "conv7x7 6->6 s1 p3 g6"),
    "repvit_head": Block(lambda: AveragedHeads(8, 5), (8, 4, 4), "fc 8->5"),
}


# ---------------------------------------------------------------- export

@torch.no_grad()
def randomise(net):
    """Fresh BatchNorms are identities, under which most mistakes would not show."""
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
            module.bias.uniform_(-0.5, 0.5)
            module.eps = 1e-3
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            module.bias.uniform_(-0.5, 0.5)
    return net


def export(net, shape, path, **options):
    torch.onnx.export(net, torch.zeros(1, *shape), str(path), input_names=["x"],
                      output_names=["y"], **options)


def make(name, block):
    """Writes both files of a block and returns its rows of the index."""
    torch.manual_seed(SEED)
    net = randomise(block.build()).eval()
    files = [f"{name}__torch113_{kind}.onnx" for kind in ("eval_opset17", "preserve_opset13")]
    export(net, block.shape, FOLDER / files[0], opset_version=17)
    export(net, block.shape, FOLDER / files[1], opset_version=13, do_constant_folding=False,
           training=torch.onnx.TrainingMode.PRESERVE)
    return [f"{file}\t{block.ideal}\t{'yes' if block.refuse else 'no'}\n" for file in files]


def main():
    index = FOLDER / "INDEX.tsv"
    rows = [row for row in index.read_text().splitlines(keepends=True) if "__torch113_" not in row]
    for name, block in BLOCKS.items():
        rows += make(name, block)
    index.write_text("".join(rows))


if __name__ == "__main__":
    main()
