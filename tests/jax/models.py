"""The networks of halfgrad's `nn`, written in plain JAX from their descriptions: channels last, weights by name.

Each is a function of a `Net`, which has the weights, and of a batch. The names and shapes of weights are written here once
more: halfgrad refuses a file that lacks one of its own, has one of another shape, or one too many.
"""

import jax, jax.numpy as jnp, numpy as np
from jax import lax


class Net:
    """Weights by name, and how they are used; `moved` gathers what a training step makes of the running averages.

    Where no weights are given, `random` makes them. Statistics are of the batch if `training`, else the running averages.
    Where `choices` are given, the values before each max pool and behind each relu in halfgrad, they say which relus are on
    and which values are the largest; `changed` counts where that is not so here. With `halves`, weights and what layers
    hand on are rounded to f16, as a network of 16 bit stores them.
    """

    def __init__(self, weights, training, random=None, seed=0, choices=None, halves=False):
        self.weights, self.training, self.random, self.seed, self.choices = weights, training, random, seed, choices
        self.halves = halves
        self.moved, self.streams, self.chosen, self.changed = {}, 0, 0, 0

    def weight(self, name, shape, draw):
        if self.random is not None:
            self.weights[name] = np.asarray(draw(self.random), np.float32).reshape(shape)
        return self.stored(jnp.asarray(self.weights[name]))

    def stored(self, x):
        return x.astype(jnp.float16).astype(x.dtype) if self.halves else x

    def normal(self, name, shape, std, mean=0.0):
        return self.weight(name, shape, lambda random: mean + std * random.standard_normal(shape))

    def dense(self, name, x, out, gain=1.25):
        y = x @ self.normal(f"{name}.weight", (x.shape[-1], out), gain / np.sqrt(x.shape[-1]))
        return self.stored(y + self.normal(f"{name}.bias", (out,), 0.1))

    def conv(self, name, x, out, size, stride=1, padding="SAME", groups=1, bias=True):
        inner = x.shape[-1] // groups
        w = self.normal(f"{name}.weight", (size, size, inner, out), np.sqrt(2 / (size * size * inner)))
        y = lax.conv_general_dilated(
            x, w, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
        )
        return self.stored(y + self.normal(f"{name}.bias", (out,), 0.1) if bias else y)

    def affine(self, name, width):
        return self.normal(f"{name}.weight", (width,), 0.2, 1.0), self.normal(f"{name}.bias", (width,), 0.2)

    def batch_norm(self, name, x, epsilon, share=0.01):
        width, over = x.shape[-1], tuple(range(x.ndim - 1))
        gain, bias = self.affine(name, width)
        running = [self.normal(f"{name}.running_mean", (width,), 0), self.normal(f"{name}.running_var", (width,), 0, 1.0)]
        if self.training:
            mean, variance = x.mean(over), x.var(over)
            n = x.size // width
            for kind, old, new in zip(("mean", "var"), running, (mean, variance * n / (n - 1))):
                self.moved[f"{name}.running_{kind}"] = (1 - share) * old + share * new
        else:
            mean, variance = running
        return self.stored((x - mean) / jnp.sqrt(variance + epsilon) * gain + bias)

    def layer_norm(self, name, x, epsilon):
        gain, bias = self.affine(name, x.shape[-1])
        return self.stored((x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + epsilon) * gain + bias)

    def relu(self, x):
        on = x > 0 if self.choices is None else self.choice(x) > 0
        self.changed += jnp.sum(on != (x > 0))
        return jnp.where(on, x, 0)

    def max_pool(self, x, size, stride, padding="VALID"):
        """The first of the largest values of each window."""
        around = lax.padtype_to_pads(x.shape[1:3], (size, size), (stride, stride), padding) if isinstance(padding, str) else padding
        around = [(0, 0), *around, (0, 0)]

        def windows(x):
            x = jnp.pad(x, around, constant_values=-jnp.inf)
            rows, columns = ((n - size) // stride + 1 for n in x.shape[1:3])
            parts = [
                x[:, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride]
                for i in range(size)
                for j in range(size)
            ]
            return jnp.stack(parts)

        found = windows(x)
        first = jnp.argmax(found if self.choices is None else windows(self.choice(x)), 0)[None]
        y = jnp.take_along_axis(found, first, 0)[0]
        self.changed += jnp.sum(y != found.max(0))
        return y

    def choice(self, x):
        """What halfgrad has in the place of `x`: next in the order of the calls."""
        found = self.choices[self.chosen]
        self.chosen += 1
        assert found.shape == x.shape, f"choice {self.chosen} is {found.shape} and not {x.shape}"
        return found

    def dropout(self, x, p):
        """As halfgrad drops in step 0 of this seed: a hash of seed, stream, step and place (shaders/lib/random.wgsl)."""
        stream, self.streams = self.streams, self.streams + 1
        if not self.training:
            return x
        groups = -(-x.shape[-1] // 4)
        count = int(np.prod(x.shape[:-1])) * groups
        a, b, c, d = (
            np.broadcast_to(np.uint32(v), count) * np.uint32(1664525) + np.uint32(1013904223)
            for v in (self.seed, stream, 0, np.arange(count, dtype=np.uint32))
        )
        for _ in range(2):
            a = a + b * d
            b = b + c * a
            c = c + a * b
            d = d + b * c
            a, b, c, d = (v ^ v >> np.uint32(16) for v in (a, b, c, d))
        bits = np.stack([a, b, c, d], -1).reshape(*x.shape[:-1], 4 * groups)[..., : x.shape[-1]]
        return jnp.where(bits >= np.uint32(np.float64(np.float32(p)) * 2**32), x / x.dtype.type(1 - p), 0)


def average_pool(x):
    return sum(x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4


def flat(x):
    return x.reshape(len(x), -1)


def everywhere(x):
    return x.mean((1, 2))


def lenet(net, x):
    h = net.max_pool(net.relu(net.conv("conv1", x, 32, 3)), 2, 2)
    h = net.max_pool(net.relu(net.conv("conv2", h, 64, 3)), 2, 2)
    return net.dense("fc2", net.relu(net.dense("fc1", flat(h), 128)), 10)


def alexnet(net, x):
    h = net.max_pool(net.relu(net.conv("conv1", x, 64, 3, stride=2)), 2, 2)
    h = net.max_pool(net.relu(net.conv("conv2", h, 96, 3)), 3, 2)
    h = net.relu(net.conv("conv3", h, 256, 3))
    h = net.relu(net.conv("conv4", h, 256, 3))
    h = net.max_pool(net.relu(net.conv("conv5", h, 512, 3)), 3, 2)
    h = net.dropout(jnp.tanh(net.dense("fc1", flat(h), 4096)), 0.5)
    h = net.dropout(jnp.tanh(net.dense("fc2", h, 4096)), 0.5)
    return net.dense("fc3", h, 10)


def vgg(*depths):
    def network(net, h):
        for block, (channels, depth) in enumerate(zip((64, 128, 256, 512, 512), depths), 1):
            for k in range(1, depth + 1):
                h = net.relu(net.conv(f"block{block}.conv{k}", h, channels, 3))
            h = net.max_pool(h, 2, 2)
            h = net.batch_norm(f"block{block}.norm", h if block < 5 else flat(h), 1e-3)
        h = net.relu(net.dense("fc1", h, 4096))
        return net.dense("fc3", net.relu(net.dense("fc2", h, 4096)), 10)

    return network


def resnet(depth, coded=False):
    def network(net, x):
        h = net.conv("conv1", x, 16, 3)
        for block, channels in enumerate((16, 32, 64), 1):
            for i in range((depth - 2) // 6):
                name = f"block{block}.{i}"
                ready = net.relu(net.batch_norm(f"{name}.norm1", h, 1e-3))
                first = i == 0 and block > 1
                shortcut = ready if (block, i) == (1, 0) else h
                if first:
                    shortcut = jnp.pad(average_pool(h), [(0, 0)] * 3 + [(channels // 4, channels // 4)])
                y = net.conv(f"{name}.conv1", ready, channels, 3, stride=2 if first else 1)
                y = net.relu(net.batch_norm(f"{name}.norm2", y, 1e-3))
                h = net.conv(f"{name}.conv2", y, channels, 3) + shortcut
        h = net.dense("head", everywhere(net.relu(net.batch_norm("norm", h, 1e-3))), 10)
        return net.relu(net.dense("dense", h, 4096)) if coded else h

    return network


def mobilenet(net, x):
    h = net.relu(net.batch_norm("norm", net.conv("conv", x, 32, 3), 1e-3))
    widths = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    for k, width in enumerate(widths, 1):
        stride = 2 if k in (2, 4, 6, 12) else 1
        h = net.conv(f"block{k}.depthwise", h, h.shape[-1], 3, stride=stride, groups=h.shape[-1])
        h = net.conv(f"block{k}.pointwise", net.relu(net.batch_norm(f"block{k}.norm1", h, 1e-3)), width, 1)
        h = net.relu(net.batch_norm(f"block{k}.norm2", h, 1e-3))
    return net.dense("fc", everywhere(h), 10)


def densenet(*depths):
    def norm(net, name, x):
        return net.relu(net.batch_norm(name, x, 1.001e-5))

    def network(net, x):
        h = net.conv("conv", x, 64, 7, stride=2, padding=[(3, 3), (3, 3)], bias=False)
        h = net.max_pool(norm(net, "norm1", h), 3, 2, [(1, 1), (1, 1)])
        for block, depth in enumerate(depths, 1):
            for k in range(1, depth + 1):
                name = f"block{block}.{k}"
                y = net.conv(f"{name}.conv1", norm(net, f"{name}.norm1", h), 128, 1, bias=False)
                y = net.conv(f"{name}.conv2", norm(net, f"{name}.norm2", y), 32, 3, bias=False)
                h = jnp.concatenate([h, y], -1)
            if block < 4:
                y = norm(net, f"block{block}.norm", h)
                h = average_pool(net.conv(f"block{block}.conv", y, h.shape[-1] // 2, 1, bias=False))
        return net.dense("fc", everywhere(norm(net, "norm2", h)), 10)

    return network


def xception(net, x):
    def norm(name, x):
        return net.batch_norm(name, x, 1e-3)

    def separable(block, k, x, width):
        x = net.conv(f"block{block}.depthwise{k}", x, x.shape[-1], 3, groups=x.shape[-1], bias=False)
        return norm(f"block{block}.norm{k}", net.conv(f"block{block}.pointwise{k}", x, width, 1, bias=False))

    def down(block, x, inner, width):
        y = separable(block, 1, x if block == 2 else net.relu(x), inner)
        y = net.max_pool(separable(block, 2, net.relu(y), width), 3, 2, "SAME")
        short = net.conv(f"block{block}.shortcut", x, width, 1, stride=2, bias=False)
        return y + norm(f"block{block}.shortcut_norm", short)

    h = net.conv("block1.conv1", x, 32, 3, stride=2, padding="VALID", bias=False)
    h = net.conv("block1.conv2", net.relu(norm("block1.norm1", h)), 64, 3, padding="VALID", bias=False)
    h = net.relu(norm("block1.norm2", h))
    for block, width in ((2, 128), (3, 256), (4, 728)):
        h = down(block, h, width, width)
    for block in range(5, 13):
        y = h
        for k in (1, 2, 3):
            y = separable(block, k, net.relu(y), 728)
        h = h + y
    h = down(13, h, 728, 1024)
    h = net.relu(separable(14, 1, h, 1536))
    h = net.relu(separable(14, 2, h, 2048))
    return net.dense("fc2", net.relu(net.dense("fc1", everywhere(h), 1024)), 10)


def attention(net, name, x, heads, each, causal):
    n, t, d = x.shape
    q, k, v = (net.dense(f"{name}.{part}", x, heads * each).reshape(n, t, heads, each) for part in ("query", "key", "value"))
    scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) / np.sqrt(each).astype(x.dtype)
    if causal:
        scores = jnp.where(np.tril(np.ones((t, t), bool)), scores, -jnp.inf)
    seen = jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores), v)
    # Little is added to each place, or they grow alike in a dozen blocks, and queries have no gradient.
    return net.dense(f"{name}.out", seen.reshape(n, t, heads * each), d, gain=0.4)


def gelu(x):
    return jax.nn.gelu(x, approximate=False)


def vit(layers):
    def network(net, x):
        n, height, width, channels = x.shape
        rows, columns = height // 6, width // 6
        x = x[:, : 6 * rows, : 6 * columns].reshape(n, rows, 6, columns, 6, channels)
        h = net.dense("patches", x.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows * columns, -1), 64)
        h = h + net.normal("positions.weight", (rows * columns, 64), 0.05)
        for i in range(1, layers + 1):
            seen = attention(net, f"block{i}.attention", h, 4, 64, False)
            h = net.layer_norm(f"block{i}.norm1", h + net.dropout(seen, 0.1), 1e-6)
            y = net.dense(f"block{i}.fc2", gelu(net.dense(f"block{i}.fc1", h, 512)), 64)
            h = net.layer_norm(f"block{i}.norm2", h + net.dropout(y, 0.1), 1e-6)
        h = net.dropout(flat(net.layer_norm("norm", h, 1e-6)), 0.5)
        h = gelu(net.dense("head2", gelu(net.dense("head1", h, 512)), 512))
        return net.dense("head3", h, 10)

    return network


def gpt(net, tokens):
    embedding = net.normal("tokens.weight", (256, 128), 0.1)
    h = embedding[tokens] + net.normal("positions.weight", (tokens.shape[1], 128), 0.1)
    for i in range(1, 5):
        h = h + attention(net, f"block{i}.attention", net.layer_norm(f"block{i}.norm1", h, 1e-5), 4, 32, True)
        y = net.dense(f"block{i}.fc1", net.layer_norm(f"block{i}.norm2", h, 1e-5), 512)
        h = h + net.dense(f"block{i}.fc2", jax.nn.gelu(y, approximate=True), 128)
    return net.layer_norm("norm", h, 1e-5) @ embedding.T


NETWORKS = {
    "lenet": lenet,
    "alexnet": alexnet,
    "vgg16": vgg(2, 2, 3, 3, 3),
    "vgg19": vgg(2, 2, 4, 4, 4),
    **{f"resnet{depth}": resnet(depth) for depth in (20, 32, 56, 110)},
    **{f"resnet{depth}-coded": resnet(depth, coded=True) for depth in (20, 32, 56, 110)},
    "mobilenet": mobilenet,
    "densenet121": densenet(6, 12, 24, 16),
    "densenet169": densenet(6, 12, 32, 32),
    "xception": xception,
    "vit8": vit(8),
    "vit12": vit(12),
    "gpt": gpt,
}
