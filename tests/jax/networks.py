"""Every network forward and backward in halfgrad and in JAX, from the same weights on the same batch.

    pip install jax && python tests/jax/networks.py [NETWORK …] [--adapter A]

Each line is one tensor or the worst of many, by ‖a − b‖ / ‖b‖; behind it, for information, the largest difference over the
largest value. JAX runs in f32 and in f64 and the nearer counts, tensor by tensor, since a relu's sign or a pool's winner
may hang on the last bit: the f32 column says how far JAX's own f32 is from its f64. What is 0 in f64 (a bias that a
normalisation takes away again, the bias of keys) is measured by the gradient of its layer's weight.

`train` is a training step: statistics of the batch, dropout with the same masks. `infer` has running averages and no
dropout, in both directions. Asked for: logits within 1e-4 in f32 and 2e-2 in f16 and mixed, gradients and the changes of
running averages within 1e-3.
"""

import argparse, os, subprocess, sys, tempfile, pathlib, time

import jax, jax.numpy as jnp, numpy as np

from common import ROOT, load_safetensors, save_safetensors
from models import NETWORKS, Net

jax.config.update("jax_enable_x64", True)

SEED = 7  # of dropout, as pass.rs has it
BATCH = {"gpt": 4, "lenet": 32}  # others: 32 where statistics are of the batch, else 8


def batch_of(name, random, n):
    if name == "gpt":
        tokens = random.integers(0, 256, (n, 33))
        return tokens[:, :-1], tokens[:, 1:]
    return random.standard_normal((n, 32, 32, 3)).astype(np.float32), random.integers(0, 10, n)


def in_jax(network, weights, x, label, dtype, training):
    """Logits, gradients by name, and running averages after the step."""
    cast = lambda v: jnp.asarray(v, dtype)
    states = {k: cast(v) for k, v in weights.items() if ".running_" in k}
    trained = {k: cast(v) for k, v in weights.items() if k not in states}
    x = x if x.dtype.kind == "i" else cast(x)

    @jax.jit
    def run(trained, states, x):
        def loss(trained):
            net = Net({**trained, **states}, training, seed=SEED)
            logits = network(net, x)
            chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), label[..., None], -1)
            return -chosen.mean(), (logits, net.moved)

        return jax.grad(loss, has_aux=True)(trained)

    gradients, (logits, moved) = run(trained, states, x)
    return {"logits": logits, **gradients, **moved}


def first_weights(name, x, random):
    """Random weights, and for running averages what a batch of another draw really has."""
    weights = {}
    jax.eval_shape(lambda x: NETWORKS[name](Net(weights, False, random), x), x)
    other, _ = batch_of(name, random, len(x))

    def statistics(x):
        net = Net(weights, True, seed=SEED)
        net.batch_norm = lambda *a, f=net.batch_norm: f(*a, share=1.0)
        NETWORKS[name](net, x)
        return net.moved

    found = jax.jit(statistics)(other)
    return weights | {k: np.asarray(v) for k, v in found.items()}


def in_halfgrad(folder, name, precision, mode, adapter):
    command = ["cargo", "run", "--quiet", "--all-features", "--example", "jax_pass", "--", name, precision, mode, str(folder)]
    environment = os.environ | ({"HALFGRAD_ADAPTER": adapter} if adapter else {})
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{name} {precision} {mode}: {done.stderr}")
    return load_safetensors(folder / "pass.safetensors")


def norm(v):
    return float(np.linalg.norm(np.asarray(v, np.float64)))


def distances(found, expected, scale):
    """‖a − b‖ over the scale's norm, and the largest difference over its largest value."""
    found, expected, scale = (np.asarray(v, np.float64).ravel() for v in (found, expected, scale))
    if not np.isfinite(found).all():
        return np.inf, np.inf
    return norm(found - expected) / norm(scale), np.abs(found - expected).max() / np.abs(scale).max()


def report(words, rows, allowed):
    """The worst of rows (name, to the nearer of JAX's two, the largest, JAX's f32 to its f64)."""
    name, worst, largest, own = max(rows, key=lambda row: row[1])
    verdict = "ok" if worst <= allowed else "TOO FAR"
    print(
        f"{words:36} {worst:8.1e} of {allowed:.0e}  max {largest:8.1e}  JAX f32 {max(r[3] for r in rows):8.1e}"
        f"  {len(rows):4} tensors, worst {name}  {verdict}",
        flush=True,
    )
    return worst <= allowed


def rows_of(names, found, f32, f64, before=None):
    rows = []
    for name in names:
        start = 0 if before is None else np.asarray(before[name], np.float64)
        a, b, c = (np.asarray(v[name], np.float64) - start for v in (found, f32, f64))
        scale = c
        weight = name.replace(".bias", ".weight")
        if weight in f64 and norm(c) < 1e-8 * norm(f64[weight]):
            scale = f64[weight]
        near, largest = min(distances(a, b, scale), distances(a, c, scale))
        rows.append((name, near, largest, distances(b, c, scale)[0]))
    return rows


def compare(name, mode, folder, adapter, timing):
    training = mode == "train"
    random = np.random.default_rng(1)
    n = 4 if name == "gpt" else 32
    x, label = batch_of(name, random, n)
    weights = first_weights(name, x, random)
    save_safetensors(folder / "weights.safetensors", weights)
    save_safetensors(folder / "batch.safetensors", {"x": x.astype(np.float32), "label": label.astype(np.float32)})
    start = time.time()
    f32, f64 = (in_jax(NETWORKS[name], weights, x, label, dtype, training) for dtype in (jnp.float32, jnp.float64))
    middle = time.time()
    found = in_halfgrad(folder, name, "f32", mode, adapter)
    if timing:
        print(f"{name} {mode}: JAX {middle - start:.0f} s, halfgrad {time.time() - middle:.0f} s", flush=True)
    if set(found) != set(weights) | {"logits"} and training:
        sys.exit(f"{name}: other tensors than JAX has: {set(found) ^ set(weights)}")
    states = [k for k in weights if ".running_" in k]
    words = f"{name:16} {mode}"
    good = [report(f"{words} f32 logits", rows_of(["logits"], found, f32, f64), 1e-4)]
    good += [report(f"{words} f32 gradients", rows_of([k for k in weights if k not in states], found, f32, f64), 1e-3)]
    if training and states:
        good += [report(f"{words} f32 averages", rows_of(states, found, f32, f64, weights), 1e-3)]
    for precision in ("f16", "mixed"):
        half = in_halfgrad(folder, name, precision, "train" if training else "logits", adapter)
        good += [report(f"{words} {precision} logits", rows_of(["logits"], half, f32, f32), 2e-2)]
    return all(good)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="of " + " ".join(NETWORKS))
    parser.add_argument("--mode", choices=("train", "infer"))
    parser.add_argument("--adapter", default="")
    parser.add_argument("--times", action="store_true")
    arguments = parser.parse_args()
    good = True
    for name in arguments.networks or NETWORKS:
        for mode in [arguments.mode] if arguments.mode else ("train", "infer"):
            with tempfile.TemporaryDirectory() as folder:
                good &= compare(name, mode, pathlib.Path(folder), arguments.adapter, arguments.times)
    sys.exit(not good)
