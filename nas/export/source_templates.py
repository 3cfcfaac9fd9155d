"""The parts of an exported Python file; `source` fills in what differs from network to network."""

HEAD = '''
"""A network found by metacell for {task}.

Cell: {arch}
Takes images float32 [N, {shape[0]}, {shape[1]}, {shape[2]}] ({pixels}), gives logits [N, {classes}].

    network = load()
    logits = network(images){usage}

`load` reads the weights beside this file with torch alone. With the safetensors package the same is

    network = Network()
    network.load_state_dict(safetensors.torch.load_file("{weights}"))
    network.eval()
"""

{imports}

import torch
from torch import Tensor, nn
{constants}
'''

RELU_CONV_BN = '''
class ReluConvBn(nn.Sequential):
    """ReLU, convolution, batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        )
'''

RESIDUAL = '''
class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a pooled 1x1 one; halves the image."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv_a = ReluConvBn(inputs, outputs, 3, stride=2)
        self.conv_b = ReluConvBn(outputs, outputs, 3)
        self.downsample = nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(x) + self.conv_b(self.conv_a(x))
'''

CELL = '''
class {name}(nn.Module):
    """The found cell: node 0 is its input, node 3 its output, a node the sum of what reaches it.

{drawing}
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__(){init}

    def forward(self, node_0: Tensor) -> Tensor:
{forward}
'''

BUFFERS = """
        self.register_buffer("mean", torch.zeros({channels}, 1, 1))
        self.register_buffer("std", torch.ones({channels}, 1, 1))"""

CHECK = '''
def check(pixels: Tensor) -> None:
    """Raise an error for images of another shape, type or scale than the network was trained on."""
    if torch.jit.is_tracing():  # A trace would keep what is asked here as if it were always so.
        return
    if pixels.dim() != 4 or pixels.shape[1] != {channels}:
        raise ValueError(f"the network takes images [N, {channels}, {height}, {width}], not {{list(pixels.shape)}}")
    if not pixels.is_floating_point():
        raise TypeError(f"the network takes {pixels}, floats, not {{pixels.dtype}}"){scale}
'''

SCALE = """
    # A program that is compiled or scripted is not to depend on values.
    if torch.jit.is_scripting() or torch.compiler.is_compiling():
        return
    if pixels.numel() > 0:
        low, high = round(float(pixels.detach().min()), 2), round(float(pixels.detach().max()), 2)
        # Beyond interpolation's overshoot: pixels from 0 to 255, or with the mean subtracted already.
        if low < -0.5 or high > 1.5:
            raise ValueError(f"the network takes pixels / 255, from 0 to 1, not from {low} to {high}")"""

NETWORK = '''
class {name}(nn.Module):
    """Stem, cells with residual blocks between the stages, classifier."""

    def __init__(self{arguments}):
        super().__init__(){buffers}
        self.stem = nn.Sequential(
            nn.Conv2d({channels}, {width}, 3, stride={stride}, padding=1, bias=False),
            nn.BatchNorm2d({width}),
        )
        self.body = nn.Sequential(
{body}
        )
        self.head = nn.Sequential(
            nn.BatchNorm2d({out}),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear({out}, {classes}),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        {forward}
'''

ENSEMBLE = '''
class Network(nn.Module):
    """The mean of the logits of {count} networks."""

    def __init__(self):
        super().__init__(){buffers}
        self.members = nn.ModuleList([{members}])

    def forward(self, pixels: Tensor) -> Tensor:
        check(pixels)
        {forward}

    def mean_of(self, x: Tensor) -> Tensor:
        return torch.stack([member(x) for member in self.members]).mean(0)
'''

FORWARD = "return {of}({inputs}{close}"
MIRRORED = """x = {inputs}
        # The mean over the image and its mirror image.
        plain = {of}(x{close}
        return (plain + {of}(torch.flip(x, [3]){close}) / 2"""

LOAD = '''
def load(path: str | Path | None = None) -> Network:
    """The network with the weights of a .safetensors file, by default that beside this file, ready to be used."""
    data = Path(path or Path(__file__).with_name("{weights}")).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    types = {{"F32": torch.float32, "I64": torch.int64}}
    weights = {{}}
    for name, about in header.items():
        begin, end = (start + offset for offset in about["data_offsets"])
        flat = torch.frombuffer(bytearray(data[begin:end]), dtype=types[about["dtype"]])
        weights[name] = flat.reshape(about["shape"])
    network = Network()
    network.load_state_dict(weights)
    return network.eval()
'''

LOADER = '''"""A network found by neural architecture search, as a torch.export program. Needs only torch.

It takes {takes}, float32 [N, {shape}], and gives logits [N, classes].

    network = load()
    logits = network(images){usage}
"""

{imports}

import torch
from torch import Tensor, nn

ARCHITECTURE = {arch}
SPACE = {space}{constants}
{check}

class Network(nn.Module):
    """The program, which itself does not look at what it is given."""

    def __init__(self, program: nn.Module):
        super().__init__()
        self.program = program

    def forward(self, pixels: Tensor) -> Tensor:
        check(pixels)
        return self.program(pixels)


def load(path: str | Path | None = None) -> Network:
    """The network, ready to be used; its program lies beside `path`, by default beside this file."""
    return Network(torch.export.load(Path(path or __file__).with_name("network.pt2")).module())
'''


def check(shape: tuple[int, ...], normalizes: bool) -> str:
    """The function that refuses what the network was not trained on; the values only where it takes `pixels / 255`."""
    channels, height, width = shape
    takes, scale = ("pixels / 255", SCALE) if normalizes else ("normalized pixels", "")
    return CHECK.format(channels=channels, height=height, width=width, pixels=takes, scale=scale)
