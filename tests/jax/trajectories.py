"""The same network, data, weights and batches in halfgrad and in JAX: every weight after N steps.

JAX runs in f32 and in f64, and the nearer of the two counts: where a relu's sign hangs on the last bit, the two leave
each other by more than 1e-4 themselves; how far is printed too.

    pip install jax && python tests/jax/trajectories.py [--adapter A]

Digits and Fashion-MNIST (Debian: dataset-fashion-mnist), SGD with momentum and Adam, f32. Fails if a weight tensor is
further than 1e-4 of its norm from JAX's after the steps that the list below asks for, or a gradient of the first step
further than 1e-5.
"""

import argparse, gzip, pathlib, struct, subprocess, sys, tempfile

import jax, jax.numpy as jnp, numpy as np

from common import ROOT, load_safetensors, save_safetensors

jax.config.update("jax_enable_x64", True)

FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")
RUNS = [  # data, hidden sizes, optimizer, learning rate, steps
    ("digits", [128], "sgd", 1.0, 1),  # the first step: momentum is the gradient, so w0 - w1 is it
    ("digits", [128], "sgd", 0.05, 200),
    ("digits", [128], "adam", 0.001, 200),
    ("fashion-mnist", [128], "sgd", 0.05, 200),
    ("fashion-mnist", [512, 512], "sgd", 0.05, 200),
    ("fashion-mnist", [128], "adam", 0.001, 20),
]


def read_idx(path):
    raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    return np.frombuffer(raw[4 + 4 * rank :], np.uint8).reshape(shape)


def write_idx(path, values):
    head = struct.pack(">4B", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(head + values.astype(np.uint8).tobytes())


def digits(folder):
    """The embedded digits as a folder of IDX files, in the file's own order."""
    rows = np.loadtxt(gzip.open(ROOT / "data/digits.csv.gz"), delimiter=",", dtype=np.int64)
    for part, name in ((rows[:1437], "train"), (rows[1437:], "t10k")):
        write_idx(folder / f"{name}-images-idx3-ubyte", part[:, :64].reshape(-1, 8, 8))
        write_idx(folder / f"{name}-labels-idx1-ubyte", part[:, 64])
    return rows[:1437, :64].astype(np.float64), rows[:1437, 64]


def loss_of(weights, x, y):
    layers = len(weights) // 2
    for i in range(1, layers + 1):
        x = x @ weights[f"fc{i}.weight"] + weights[f"fc{i}.bias"]
        x = jax.nn.relu(x) if i < layers else x
    return -jnp.mean(jax.nn.log_softmax(x)[jnp.arange(len(y)), y])


def jax_trajectory(dtype, weights, x, y, order, batch, optimizer, rate, steps):
    w = {k: jnp.asarray(v, dtype) for k, v in weights.items()}
    m = {k: jnp.zeros_like(v) for k, v in w.items()}
    v = {k: jnp.zeros_like(v) for k, v in w.items()}

    @jax.jit
    def step(w, m, v, xb, yb, t):
        g = jax.grad(loss_of)(w, xb, yb)
        if optimizer == "sgd":
            m = {k: 0.9 * m[k] + g[k] for k in w}
            return {k: w[k] - rate * m[k] for k in w}, m, v
        m = {k: 0.9 * m[k] + 0.1 * g[k] for k in w}
        v = {k: 0.999 * v[k] + 0.001 * g[k] ** 2 for k in w}
        c1, c2 = 1 - 0.9**t, 1 - 0.999**t
        return {k: w[k] - rate * (m[k] / c1) / (jnp.sqrt(v[k] / c2) + 1e-8) for k in w}, m, v

    for s in range(steps):
        rows = order[s * batch : (s + 1) * batch]
        w, m, v = step(w, m, v, jnp.asarray(x[rows], dtype), jnp.asarray(y[rows]), float(s + 1))
    return {k: np.asarray(value) for k, value in w.items()}


def compare(data, hidden, optimizer, rate, steps, adapter):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if data == "digits":
            x, y = digits(folder)
        else:
            x = read_idx(FASHION / "train-images-idx3-ubyte.gz").reshape(60000, -1).astype(np.float64)
            y = read_idx(FASHION / "train-labels-idx1-ubyte.gz").astype(np.int64)
        x = ((x - x.mean()) / (x.std() + 1e-7)).astype(np.float32)
        random = np.random.default_rng(1)
        sizes = [x.shape[1], *hidden, 10]
        weights = {}
        for i, (a, b) in enumerate(zip(sizes, sizes[1:]), 1):
            weights[f"fc{i}.weight"] = (random.standard_normal((a, b)) * np.sqrt(2 / a)).astype(np.float32)
            weights[f"fc{i}.bias"] = (random.standard_normal(b) * 0.01).astype(np.float32)
        batch = 64
        order = random.permutation(np.resize(np.arange(len(x)), steps * batch + batch)).astype(np.int64)
        save_safetensors(folder / "init.safetensors", weights)
        np.save(folder / "order.npy", order)
        command = ["cargo", "run", "--quiet", "--features", "cli", "--bin", "halfgrad", "--", "study"]
        command += ["--data", str(folder) if data == "digits" else data, "--model", "mlp", "--precision", "f32"]
        command += ["--seeds", "1", "--batch", str(batch), "--optimizer", optimizer, "--lr", str(rate), "--steps", str(steps)]
        command += ["--hidden", ",".join(map(str, hidden)), "--init", str(folder / "init.safetensors")]
        command += ["--order", str(folder / "order.npy"), "--out", str(folder / "out")]
        command += ["--adapter", adapter] if adapter else []
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        ours = load_safetensors(next((folder / "out").glob("weights-f32-seed*.safetensors")))
        f32, f64 = (
            jax_trajectory(dtype, weights, x, y, order, batch, optimizer, rate, steps)
            for dtype in (jnp.float32, jnp.float64)
        )

    def distance(a, b):
        """The largest over all tensors, relative to the weights, or to the gradient after one step."""
        start = {k: weights[k] if steps == 1 else 0 for k in b}
        return max(np.linalg.norm(a[k] - b[k]) / np.linalg.norm(b[k] - start[k]) for k in b)

    worst, own = min(distance(ours, f32), distance(ours, f64)), distance(f32, f64)
    allowed = 1e-5 if steps == 1 else 1e-4
    verdict = "ok" if worst <= allowed else "TOO FAR"
    print(f"{data:14} {str(hidden):12} {optimizer:5} {steps:4} steps: {worst:.2e} of {allowed:.0e} (JAX f32 to f64 {own:.0e})  {verdict}", flush=True)
    return worst <= allowed


arguments = argparse.ArgumentParser()
arguments.add_argument("--adapter", default="")
adapter = arguments.parse_args().adapter
sys.exit(not all([compare(*run, adapter) for run in RUNS]))
