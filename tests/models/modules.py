"""Training-time blocks of re-parameterizable papers, for `train.py` and `blocks.py`.

Each is written from its paper's formulas.  What exporters do with them is the point, so they
do what the authors' code makes PyTorch do: bias padding by slice assignment, kernels that are
computed before the convolution, reshapes that cut a picture into patches.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


def conv_bn(cin, cout, kernel, stride=1, groups=1, padding=None):
    """Conv (no bias, "same" padding for odd kernels unless given) -> BatchNorm."""
    padding = kernel // 2 if padding is None else padding
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(cout))


class RepVGGBlock(nn.Module):
    """ReLU(BN(conv3x3(x)) + BN(conv1x1(x)) [+ BN(x) where the shape allows])."""

    def __init__(self, cin, cout, stride, groups):
        super().__init__()
        self.dense = conv_bn(cin, cout, 3, stride, groups)
        self.point = conv_bn(cin, cout, 1, stride, groups)
        self.skip = nn.BatchNorm2d(cin) if cin == cout and stride == 1 else None

    def forward(self, x):
        y = self.dense(x) + self.point(x)
        if self.skip is not None:
            y = y + self.skip(x)
        return F.relu(y)


class SqueezeExcite(nn.Module):
    """Hu et al., CVPR 2018: x * sigmoid(1x1(ReLU(1x1(mean of x))))."""

    def __init__(self, channels, reduction):
        super().__init__()
        self.down = nn.Conv2d(channels, channels // reduction, 1)
        self.up = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x):
        y = F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))
        return x * torch.sigmoid(self.up(y))


class MobileOneBlock(nn.Module):
    """ReLU of a sum of: `branches` conv-BNs, a 1x1 conv-BN "scale" branch (only
    where the kernel is larger than 1x1), and a BN of x where the shape allows; before the
    ReLU a gate, if there is one."""

    def __init__(self, cin, cout, kernel, stride=1, groups=1, branches=3, gate=None):
        super().__init__()
        self.skip = nn.BatchNorm2d(cin) if cin == cout and stride == 1 else None
        self.scale = conv_bn(cin, cout, 1, stride, groups) if kernel > 1 else None
        self.convs = nn.ModuleList(
            conv_bn(cin, cout, kernel, stride, groups) for _ in range(branches))
        self.gate = gate

    def forward(self, x):
        parts = [m(x) for m in (self.skip, self.scale) if m is not None]
        parts += [conv(x) for conv in self.convs]
        y = sum(parts[1:], parts[0])
        return F.relu(y if self.gate is None else self.gate(y))


def assign_border(y, pad, values):
    """Overwrites the outermost `pad` pixels of y [N,C,H,W] with a value a channel, in place."""
    values = values.view(1, -1, 1, 1)
    y[:, :, :pad, :] = values
    y[:, :, -pad:, :] = values
    y[:, :, :, :pad] = values
    y[:, :, :, -pad:] = values
    return y


class BatchNormAndPad(nn.Module):
    """BatchNorm, then padding with what the BatchNorm makes of zero: with that, and not with
    zero, a 1x1 before it and a KxK after it are one convolution also at the border."""

    def __init__(self, channels, pad):
        super().__init__()
        self.bn, self.pad = nn.BatchNorm2d(channels), pad

    def forward(self, x):
        y, bn = self.bn(x), self.bn
        if self.pad == 0:
            return y
        of_zero = bn.bias - bn.running_mean * bn.weight / torch.sqrt(bn.running_var + bn.eps)
        return assign_border(F.pad(y, [self.pad] * 4), self.pad, of_zero.detach())


class IdentityBased1x1(nn.Module):
    """1x1 convolution that learns its difference from the identity."""

    def __init__(self, channels, groups):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, channels // groups, 1, 1))
        index = torch.arange(channels)
        eye = torch.zeros_like(self.weight.data)
        eye[index, index % (channels // groups)] = 1.0
        self.register_buffer("eye", eye)
        self.groups = groups

    def forward(self, x):
        return F.conv2d(x, self.weight + self.eye, groups=self.groups)


class DiverseBranchBlock(nn.Module):
    """Ding et al., CVPR 2021: ReLU of KxK-BN + 1x1-BN + (1x1-BN-pad-average-BN) +
    (1x1-BN-pad-KxK-BN).  Depthwise: the average sees x itself, and the last branch has twice
    the channels in its middle.  `bias_pad=False` pads with zero instead, which is no
    convolution."""

    def __init__(self, cin, cout, kernel, stride=1, groups=1, bias_pad=True):
        super().__init__()
        pad, depthwise = kernel // 2, groups == cin and groups > 1
        mid = 2 * cin if depthwise else cin
        self.origin = conv_bn(cin, cout, kernel, stride, groups)
        inner = pad if bias_pad else 0
        outer = 0 if bias_pad else pad
        if depthwise:
            self.point, first = None, nn.Conv2d(cin, mid, 1, groups=groups, bias=False)
            self.average = nn.Sequential(
                nn.AvgPool2d(kernel, stride, pad), nn.BatchNorm2d(cout))
        else:
            self.point, first = conv_bn(cin, cout, 1, stride, groups), IdentityBased1x1(cin, groups)
            self.average = nn.Sequential(
                nn.Conv2d(cin, cout, 1, groups=groups, bias=False), BatchNormAndPad(cout, inner),
                nn.AvgPool2d(kernel, stride, outer), nn.BatchNorm2d(cout))
        self.deep = nn.Sequential(
            first, BatchNormAndPad(mid, inner),
            nn.Conv2d(mid, cout, kernel, stride, outer, groups=groups, bias=False),
            nn.BatchNorm2d(cout))

    def forward(self, x):
        y = self.origin(x)
        if self.point is not None:
            y = y + self.point(x)
        return F.relu(y + self.average(x) + self.deep(x))


class ACBlock(nn.Module):
    """Ding et al., ICCV 2019: ReLU(BN(KxK) + BN(Kx1) + BN(1xK)).  Where the padding is smaller
    than K//2 the one-dimensional branches read a cropped picture."""

    def __init__(self, cin, cout, kernel, padding, stride=1, groups=1):
        super().__init__()
        spare = padding - kernel // 2
        self.crop, thin = max(0, -spare), max(0, spare)

        def branch(size, pads):
            return nn.Sequential(
                nn.Conv2d(cin, cout, size, stride, pads, groups=groups, bias=False),
                nn.BatchNorm2d(cout))

        self.square = branch((kernel, kernel), (padding, padding))
        self.tall = branch((kernel, 1), (padding, thin))
        self.wide = branch((1, kernel), (thin, padding))

    def forward(self, x):
        tall = wide = x
        if self.crop:
            wide, tall = x[:, :, self.crop:-self.crop, :], x[:, :, :, self.crop:-self.crop]
        return F.relu(self.square(x) + self.tall(tall) + self.wide(wide))


class QARepVGGBlock(nn.Module):
    """Chu et al., AAAI 2024: ReLU(BN(BN(conv3x3(x)) + conv1x1(x) [+ x]))."""

    def __init__(self, cin, cout, stride, groups):
        super().__init__()
        self.dense = conv_bn(cin, cout, 3, stride, groups)
        self.point = nn.Conv2d(cin, cout, 1, stride, groups=groups, bias=False)
        self.skip = cin == cout and stride == 1
        self.out = nn.BatchNorm2d(cout)

    def forward(self, x):
        y = self.dense(x) + self.point(x)
        if self.skip:
            y = y + x
        return F.relu(self.out(y))


class RepMLP(nn.Module):
    """Ding et al., "RepMLP", 2021: the picture [C,H,W] is cut into patches of h x w, each of which
    meets a grouped dense layer and, beside it, convolutions of several sizes; a global
    perceptron sees the average of each patch and adds to it."""

    def __init__(self, cin, cout, size, patch, groups, kernels):
        super().__init__()
        self.cin, self.cout, self.patch, self.cells = cin, cout, patch, size // patch
        if self.cells > 1:
            values = cin * self.cells ** 2
            self.average = nn.Sequential(nn.AvgPool2d(patch), nn.BatchNorm2d(cin))
            self.perceive = nn.Sequential(
                nn.Linear(values, values), nn.ReLU(), nn.Linear(values, values))
        pixels = patch ** 2
        self.dense = nn.Conv2d(cin * pixels, cout * pixels, 1, groups=groups, bias=False)
        self.norm = nn.BatchNorm1d(cout * pixels)
        self.local = nn.ModuleList(conv_bn(cin, cout, k, groups=groups) for k in kernels)

    def forward(self, x):
        n, h = self.cells, self.patch
        x = x.reshape(-1, self.cin, n, h, n, h)
        if n > 1:
            whole = self.average(x.reshape(-1, self.cin, n * h, n * h))
            whole = self.perceive(whole.reshape(-1, self.cin * n * n))
            x = x + whole.reshape(-1, self.cin, n, 1, n, 1)
        x = x.permute(0, 2, 4, 1, 3, 5).reshape(-1, self.cin, h, h)
        y = self.dense(x.reshape(-1, self.cin * h * h, 1, 1))
        y = self.norm(y.reshape(-1, self.cout * h * h)).reshape(-1, self.cout, h, h)
        y = sum((conv(x) for conv in self.local), y)
        y = y.reshape(-1, n, n, self.cout, h, h).permute(0, 3, 1, 4, 2, 5)
        return y.reshape(-1, self.cout, n * h, n * h)


EDGES = {"sobel_x": [[1, 0, -1], [2, 0, -2], [1, 0, -1]],
         "sobel_y": [[1, 2, 1], [0, 0, 0], [-1, -2, -1]],
         "laplacian": [[0, 1, 0], [1, -4, 1], [0, 1, 0]]}


class Expand3x3(nn.Module):
    """1x1 with bias, padding with that bias, 3x3 with bias."""

    def __init__(self, cin, mid, cout):
        super().__init__()
        self.point, self.conv = nn.Conv2d(cin, mid, 1), nn.Conv2d(mid, cout, 3)

    def forward(self, x):
        y = F.pad(self.point(x), [1] * 4)
        return self.conv(assign_border(y, 1, self.point.bias.detach()))


class EdgeBranch(nn.Module):
    """1x1 with bias, padding with that bias, one fixed 3x3 mask a channel times a learned scale."""

    def __init__(self, cin, cout, mask):
        super().__init__()
        self.point = nn.Conv2d(cin, cout, 1)
        self.scale = nn.Parameter(torch.randn(cout, 1, 1, 1) * 1e-3)
        self.bias = nn.Parameter(torch.randn(cout) * 1e-3)
        self.register_buffer("mask", torch.tensor(mask, dtype=torch.float32)[None, None])

    def forward(self, x):
        y = assign_border(F.pad(self.point(x), [1] * 4), 1, self.point.bias.detach())
        return F.conv2d(y, self.scale * self.mask, self.bias, groups=len(self.bias))


class EdgeBlock(nn.Module):
    """Zhang et al., "ECBSR", ACM MM 2021: PReLU of a 3x3, a 1x1-3x3, three edge filters, and x where
    the shape allows."""

    def __init__(self, cin, cout):
        super().__init__()
        self.dense = nn.Conv2d(cin, cout, 3, padding=1)
        self.branches = nn.ModuleList(
            [Expand3x3(cin, 2 * cout, cout)] + [EdgeBranch(cin, cout, m) for m in EDGES.values()])
        self.skip = cin == cout
        self.act = nn.PReLU(cout)

    def forward(self, x):
        y = sum((branch(x) for branch in self.branches), self.dense(x))
        return self.act(y + x if self.skip else y)
