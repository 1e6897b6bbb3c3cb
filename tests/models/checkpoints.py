#!/usr/bin/python3
"""Writes a PyTorch checkpoint as ONNX: the network that it belongs to is built here.

    python3 checkpoints.py mobilenet_v2|digits CHECKPOINT.pth OUT.onnx

BatchNormalization stays a node of its own, as after training. Needs Debian's python3-torch.
"""

import os
import sys

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # idle threads must not spin; read when torch loads

import torch
import torch.nn as nn


def conv_bn(inputs, outputs, kernel, stride=1, groups=1):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    """Sandler et al., "MobileNetV2", CVPR 2018; names as torchvision's checkpoints have them."""

    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        hidden = inputs * expansion
        layers = [conv_bn(inputs, hidden, 1)] if expansion > 1 else []
        layers += [conv_bn(hidden, hidden, 3, stride, hidden),
                   nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self):
        super().__init__()
        table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
                 (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
        layers, inputs = [conv_bn(3, 32, 3, 2)], 32
        for expansion, outputs, count, stride in table:
            for index in range(count):
                layers.append(InvertedResidual(inputs, outputs, stride if index == 0 else 1, expansion))
                inputs = outputs
        self.features = nn.Sequential(*layers, conv_bn(inputs, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, x):
        return self.classifier(self.features(x).mean([2, 3]))


class Digits(nn.Module):
    """The network of digit-recognizer-py, with its names."""

    def __init__(self):
        super().__init__()
        layers = []
        for inputs, outputs in [(1, 32), (32, 64), (64, 128)]:
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.conv_layers = nn.Sequential(*layers)
        self.fc_layers = nn.Sequential(nn.Linear(128 * 3 * 3, 256), nn.ReLU(), nn.Linear(256, 10))

    def forward(self, x):
        return self.fc_layers(self.conv_layers(x).flatten(1))


NETWORKS = {"mobilenet_v2": (MobileNetV2, (1, 3, 224, 224)), "digits": (Digits, (1, 1, 28, 28))}


def main():
    name, checkpoint, out = sys.argv[1:]
    network, shape = NETWORKS[name]
    net = network()
    net.load_state_dict(torch.load(checkpoint, map_location="cpu"))
    torch.onnx.export(net.eval(), torch.zeros(shape), out, opset_version=13, do_constant_folding=False,
                      training=torch.onnx.TrainingMode.PRESERVE, input_names=["input"],
                      output_names=["logits"])


if __name__ == "__main__":
    main()
