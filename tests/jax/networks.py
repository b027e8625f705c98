"""Every network forward and backward in halfgrad and in JAX, from the same weights on the same batch.

    pip install jax && python tests/jax/networks.py [NETWORK …] [--adapter A]

Each line is one tensor or the worst of many, by ‖a − b‖ / ‖b‖ with JAX's f32 or its f64 for b, whichever is nearer, tensor
by tensor. Behind it stand the largest difference over the largest value, and how far JAX's f32 is from its own f64. What
is 0 but for rounding (the bias before a batch normalisation, the bias of keys) is measured by its layer's weight.

Where a relu's sign or the largest of a window hangs on the last bit, the gradient does, and JAX's f32 is further than 1e-3
from its own f64, too. Such gradients are compared once more with those of JAX's f64 through the relus that are on in
halfgrad and the values that it found to be the largest; how many of them are not JAX's own is printed.

`train` is a training step of 32 samples: statistics of the batch, dropout with the same masks. `infer` is of two samples,
with running averages and without dropout, in both directions. Asked for: logits within 1e-4 in f32 and 2e-2 in f16 and
mixed, gradients and the changes of running averages within 1e-3. Where JAX itself is further than 2e-2 from its f64 when it
rounds what layers hand on to f16, twice its distance is allowed.
"""

import argparse, os, subprocess, sys, tempfile, pathlib, time

import jax, jax.numpy as jnp, numpy as np

from common import ROOT, load_safetensors, save_safetensors
from models import NETWORKS, Net

jax.config.update("jax_enable_x64", True)

SEED = 7  # of dropout, as pass.rs has it
LOGITS, GRADIENTS, AVERAGES, LOGITS_OF_HALVES = 1e-4, 1e-3, 1e-3, 2e-2
CHANGED = 1e-4  # the share of choices that may be others than JAX's


def batch_of(name, random, n):
    if name == "gpt":
        tokens = random.integers(0, 256, (n, 33))
        return tokens[:, :-1], tokens[:, 1:]
    # Patches of colour and noise: of mere noise deep networks see nothing but its mean, and normalise what is left.
    patches = np.kron(random.standard_normal((n, 4, 4, 3)), np.ones((1, 8, 8, 1)))
    images = patches + 0.5 * random.standard_normal((n, 32, 32, 3))
    return images.astype(np.float32), random.integers(0, 10, n)


def in_jax(network, x, label, dtype, training):
    """A function of weights, and of halfgrad's choices: logits, gradients by name, the running averages after the step."""

    def loss(trained, states, x, choices):
        net = Net({**trained, **states}, training, seed=SEED, choices=choices)
        logits = network(net, x)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), label[..., None], -1)
        return -chosen.mean(), (logits, net.moved, net.changed)

    gradient = jax.jit(jax.grad(loss, has_aux=True))

    def run(weights, choices=None):
        weights = {k: jnp.asarray(v, dtype) for k, v in weights.items()}
        states = {k: v for k, v in weights.items() if is_state(k)}
        trained = {k: v for k, v in weights.items() if not is_state(k)}
        batch = x if x.dtype.kind == "i" else jnp.asarray(x, dtype)
        gradients, (logits, moved, changed) = gradient(trained, states, batch, choices)
        found = {"logits": logits, "changed": changed, **gradients, **moved}
        return {k: np.asarray(v, np.float64) for k, v in found.items()}

    return run


def is_state(name):
    return ".running_" in name


def first_weights(name, x, random, training):
    """Random weights; for running averages, where they are used, what a batch of another draw has."""
    weights = {}
    jax.eval_shape(lambda x: NETWORKS[name](Net(weights, False, random), x), x)
    if training:
        return weights
    other, _ = batch_of(name, random, len(x))

    def statistics(x):
        net = Net(weights, True, seed=SEED)
        net.batch_norm = lambda *a, f=net.batch_norm: f(*a, share=1.0)
        NETWORKS[name](net, x)
        return net.moved

    found = jax.jit(statistics)(other)
    return weights | {k: np.asarray(v) for k, v in found.items()}


def in_halves(network, x, weights, training):
    """The logits where weights and what layers hand on are rounded to f16, and all else is f64."""

    def logits(weights, x):
        return network(Net(weights, training, seed=SEED, halves=True), x)

    weights = {k: jnp.asarray(v, jnp.float64) for k, v in weights.items()}
    return np.asarray(jax.jit(logits)(weights, x if x.dtype.kind == "i" else jnp.asarray(x, jnp.float64)))


def in_halfgrad(folder, name, precision, mode, adapter, *more):
    command = ["cargo", "run", "--quiet", "--all-features", "--example", "jax_pass", "--", name, precision, mode, str(folder), *more]
    environment = os.environ | ({"HALFGRAD_ADAPTER": adapter} if adapter else {})
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{name} {precision} {mode}: {done.stderr}")
    return load_safetensors(folder / "pass.safetensors")


def distance(a, b, scale):
    """‖a − b‖ over the scale's norm, and the largest difference over its largest value."""
    if not np.isfinite(a).all():
        return np.inf, np.inf
    return np.linalg.norm(a - b) / np.linalg.norm(scale), np.abs(a - b).max() / np.abs(scale).max()


def scale_of(name, exact):
    """The tensor itself; of one that is 0 but for rounding, its layer's weight."""
    weight = exact.get(name.replace(".bias", ".weight"), exact[name])
    return exact[name] if np.linalg.norm(exact[name]) > 1e-8 * np.linalg.norm(weight) else weight


def measured(names, found, f32, f64):
    """By name: the distance to the nearer of JAX's two, the largest difference there, JAX's f32 to its f64."""
    rows = {}
    for name in names:
        scale = scale_of(name, f64)
        near = min(distance(found[name], jax[name], scale) for jax in (f32, f64))
        rows[name] = (*near, distance(f32[name], f64[name], scale)[0])
    return rows


def report(words, rows, allowed):
    """A line for the worst of rows, and whether it is near enough."""
    name, (worst, largest, _) = max(rows.items(), key=lambda row: row[1][0])
    verdict = "ok" if worst <= allowed else "TOO FAR"
    own = max(own for _, _, own in rows.values())
    print(
        f"{words:38} {worst:7.1e} of {allowed:.0e}, max {largest:7.1e}, JAX f32 {own:7.1e};"
        f" {len(rows)} tensors, worst {name}: {verdict}",
        flush=True,
    )
    return worst <= allowed


def report_gradients(words, rows, choices_of, weights, in_f64):
    """As `report`; where that is too far, through the relus that are on in halfgrad and the values that it found largest."""
    if max(near for near, *_ in rows.values()) <= GRADIENTS:
        return report(words, rows, GRADIENTS)
    found = choices_of()
    choices = [found[k] for k in sorted(found) if k.startswith("choice")]
    f64 = in_f64(weights, choices)
    worst, own = (max(row[i] for row in rows.values()) for i in (0, 2))
    changed, size = int(f64["changed"]), sum(c.size for c in choices)
    print(f"{words:38} {worst:7.1e} (JAX f32 {own:7.1e}); {changed} of {size:,} choices are not those of JAX's f64; with them:")
    return report(words, measured(rows, found, f64, f64), GRADIENTS) and changed <= CHANGED * size


def compare(name, mode, folder, adapter, seed):
    training = mode == "train"
    random = np.random.default_rng(seed)
    x, label = batch_of(name, random, 32 if training else 2)
    weights = first_weights(name, x, random, training)
    save_safetensors(folder / "weights.safetensors", weights)
    save_safetensors(folder / "batch.safetensors", {"x": x.astype(np.float32), "label": label.astype(np.float32)})
    start = time.time()
    in_f32, in_f64 = (in_jax(NETWORKS[name], x, label, dtype, training) for dtype in (jnp.float32, jnp.float64))
    f32, f64 = in_f32(weights), in_f64(weights)
    middle = time.time()
    found = in_halfgrad(folder, name, "f32", mode, adapter)
    states = [k for k in weights if is_state(k)]
    trained = [k for k in weights if not is_state(k)]
    if set(found) != {"logits", *(weights if training else trained)}:
        sys.exit(f"{name}: other tensors than JAX has: {set(found) ^ set(weights)}")
    print(f"{name}, {mode}, {len(x)} samples; JAX {middle - start:.0f} s, halfgrad {time.time() - middle:.0f} s", flush=True)

    words = f"{name} {mode}"
    good = report(f"{words} f32 logits", measured(["logits"], found, f32, f64), LOGITS)
    gradients = measured(trained, found, f32, f64)
    choices_of = lambda: in_halfgrad(folder, name, "f32", mode, adapter, "choices")
    good &= report_gradients(f"{words} f32 gradients", gradients, choices_of, weights, in_f64)
    if training and states:
        moved = [{k: of[k] - np.asarray(weights[k], np.float64) for k in states} for of in (found, f32, f64)]
        good &= report(f"{words} f32 running averages", measured(states, *moved), AVERAGES)
    own = distance(in_halves(NETWORKS[name], x, weights, training), f64["logits"], f64["logits"])[0]
    print(f"{words + ' logits of JAX in halves':38} {own:7.1e}")
    if not np.isfinite(own):
        print(f"{words + ' logits in f16':38} are not compared: JAX's, too, are beyond f16 with these weights", flush=True)
        return good
    for precision in ("f16", "mixed"):
        half = in_halfgrad(folder, name, precision, "train" if training else "logits", adapter)
        good &= report(f"{words} {precision} logits", measured(["logits"], half, f32, f64), max(LOGITS_OF_HALVES, 2 * own))
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="of " + " ".join(NETWORKS))
    parser.add_argument("--mode", choices=("train", "infer"))
    parser.add_argument("--adapter", default="")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    good = True
    for name in arguments.networks or NETWORKS:
        for mode in [arguments.mode] if arguments.mode else ("train", "infer"):
            with tempfile.TemporaryDirectory() as folder:
                good &= compare(name, mode, pathlib.Path(folder), arguments.adapter, arguments.seed)
    sys.exit(not good)
