"""Makes tests/onnx/cases.safetensors.gz: cases of the ONNX backend suite (Apache-2.0) that tests/onnx.rs runs.

    pip install onnx==1.23.2 safetensors && python tests/onnx/fixtures.py

Node cases come from the Python of the wheel; `pytorch-operator` and `pytorch-converted` are its recorded files, whose
outputs PyTorch made. Of every op in OPS each case is either in the file, or in its list `left` with the reason. What ONNX
says in several ways is said in one: parameters that are operands become attributes, axes are not negative, defaults are
written out, padding that ONNX computes is computed here, as its specification says.
"""

import gzip, json, pathlib, warnings

import numpy as np, onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import save

warnings.filterwarnings("ignore")
OUT = pathlib.Path(__file__).with_name("cases.safetensors.gz")
OPS = set(
    """Abs Add ArgMax Attention AveragePool BatchNormalization Celu Clip Concat Conv ConvTranspose CumSum Div
    Dropout Elu Equal Erf Exp Expand Flatten Gather Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual
    GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log
    LogSoftmax MatMul Max MaxPool Mean MeanVarianceNormalization Min Mish Mul Neg NegativeLogLikelihoodLoss OneHot PRelu Pad
    Pow RMSNormalization Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
    ReduceSum ReduceSumSquare Relu Reshape Resize Selu Sigmoid Sign Slice Softmax SoftmaxCrossEntropyLoss Softplus
    Softsign Split Sqrt Squeeze Sub Sum SwiGLU Swish Tanh ThresholdedRelu Tile Transpose Unsqueeze Upsample Where""".split()
)
SHAPED = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Expand"}  # the result's shape says it all
REAL = (np.float32, np.float16, np.float64)


def attributes(node):
    text = lambda v: v.decode() if isinstance(v, bytes) else v
    found = {a.name: text(onnx.helper.get_attribute_value(a)) for a in node.attribute}
    return {k: list(v) if hasattr(v, "__len__") and not isinstance(v, (str, onnx.TensorProto)) else v for k, v in found.items()}


def padding(a, sizes, window):
    """Before each axis, then behind each, for a window that moves over an image of these sizes."""
    n = len(window)
    stride, dilation, kind = a["strides"], a["dilations"], a.pop("auto_pad", "NOTSET")
    a["same"] = kind == "SAME_UPPER"
    if not kind.startswith("SAME"):
        return a.get("pads", [0] * 2 * n)
    total = [
        max((-(-s // t) - 1) * t + (k - 1) * d + 1 - s, 0) for s, t, k, d in zip(sizes, stride, window, dilation)
    ]
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return less + more if kind == "SAME_UPPER" else more + less


def windows(a, x, window):
    n = len(window)
    a = {"strides": [1] * n, "dilations": [1] * n, "group": 1, "window": list(window)} | a
    return a | {"pads": padding(a, x.shape[2:], window)}


def transposed(a, x, window):
    n = len(window)
    a = {"strides": [1] * n, "dilations": [1] * n, "group": 1, "output_padding": [0] * n, "window": list(window)} | a
    kind, shape = a.pop("auto_pad", "NOTSET"), a.pop("output_shape", None)
    a["same"] = kind == "SAME_UPPER" and shape is None and not any(a["output_padding"])
    if kind.startswith("SAME") and shape is None:
        shape = [s * t for s, t in zip(x.shape[2:], a["strides"])]
    if shape is None:
        return {"pads": [0] * 2 * n} | a
    each = zip(x.shape[2:], a["strides"], a["output_padding"], window, a["dilations"], shape)
    total = [t * (s - 1) + o + (k - 1) * d + 1 - y for s, t, o, k, d, y in each]
    # Less than nothing is more of the result.
    a["output_padding"] = [o + max(-t, 0) for o, t in zip(a["output_padding"], total)]
    total = [max(t, 0) for t in total]
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return a | {"pads": less + more if kind == "SAME_UPPER" else more + less}


def normal(node, given, outputs, opset):
    """Attributes in one form, and the operands that remain."""
    op, a, names = node.op_type, attributes(node), list(node.input)
    x = given[0] if given else None
    value = lambda i: given[i].tolist() if i < len(given) and given[i] is not None else None
    one = lambda i: np.ravel(given[i])[0].item() if i < len(given) and given[i] is not None else None
    rank = x.ndim if x is not None else 0
    up = lambda axes, r=None: [v % (r or rank) for v in axes]
    if op == "Conv":
        return windows(a, x, given[1].shape[2:]), names
    if op == "ConvTranspose":
        return transposed(a, x, given[1].shape[2:]), names
    if op in ("MaxPool", "AveragePool"):
        return {"ceil_mode": 0, "count_include_pad": 0} | windows(a, x, a["kernel_shape"]), names
    if op in SHAPED:
        return {"shape": list(outputs[0].shape)}, names[:1]
    if op.startswith("Reduce"):
        axes = value(1) if len(given) > 1 else a.get("axes")
        if not axes:
            axes = [] if a.get("noop_with_empty_axes") else list(range(rank))
        return {"axes": sorted(up(axes)), "keepdims": a.get("keepdims", 1)}, names[:1]
    if op == "ArgMax":
        return {"axis": a.get("axis", 0) % rank, "keepdims": a.get("keepdims", 1), "last": a.get("select_last_index", 0)}, names
    if op in ("Softmax", "LogSoftmax"):
        axis = a.get("axis", -1 if opset >= 13 else 1) % rank
        assert opset >= 13 or axis == rank - 1 or all(d == 1 for d in x.shape[axis + 1 :]), (node.op_type, axis, x.shape)
        return {"axis": axis}, names
    if op in ("LayerNormalization", "RMSNormalization"):
        return {"axis": a.get("axis", -1) % rank, "epsilon": a.get("epsilon", 1e-5)}, names
    if op == "Pad":
        pads = value(1) or a["pads"]
        axes = up(value(3) or range(rank))
        both = [[0, 0] for _ in range(rank)]
        for i, axis in enumerate(axes):
            both[axis] = [pads[i], pads[i + len(axes)]]
        return {"pads": both, "mode": a.get("mode", "constant"), "value": one(2) or a.get("value", 0.0)}, names[:1]
    if op == "Slice":
        starts, ends = value(1) or a["starts"], value(2) or a["ends"]
        axes = up(value(3) or a.get("axes") or range(len(starts)))
        steps = value(4) or [1] * len(starts)
        ranges = [[axis, *slice(b, e, s).indices(x.shape[axis])] for axis, b, e, s in zip(axes, starts, ends, steps)]
        return {"ranges": ranges}, names[:1]
    if op == "Clip":
        low, high = one(1), one(2)
        low, high = a.get("min", low), a.get("max", high)
        return {"low": -3e38 if low is None else low, "high": 3e38 if high is None else high}, names[:1]
    if op == "CumSum":
        return {"axis": one(1) % rank, "exclusive": a.get("exclusive", 0), "reverse": a.get("reverse", 0)}, names[:1]
    if op == "OneHot":
        depth, (off, on) = one(1), value(2)
        return {"depth": int(depth), "off": off, "on": on, "axis": a.get("axis", -1) % (rank + 1)}, names[:1]
    if op in ("Gather", "Concat"):
        return {"axis": a.get("axis", 0) % rank}, names
    if op == "Split":
        return {"axis": a.get("axis", 0) % rank, "sizes": [o.shape[a.get("axis", 0)] for o in outputs]}, names[:1]
    if op == "Tile":
        return {"repeats": value(1)}, names[:1]
    if op in ("Resize", "Upsample"):
        return a | {"size": list(outputs[0].shape)}, names[:1]
    if op == "Dropout":
        trains = (op and opset >= 12 and bool(one(2))) or False
        return {"training": trains, "ratio": one(1) if len(given) > 1 and given[1] is not None else a.get("ratio", 0.5)}, names[:1]
    if op in ("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"):
        return {"reduction": "mean"} | a, names
    if op == "Transpose":
        return {"perm": a.get("perm", list(range(rank))[::-1])}, names
    return a, names


def settle(op, given, a, opset):
    """Negative indices count from the end; labels that do not count are -1; an old slope is that of a channel."""
    if op == "PRelu" and opset < 7 and given[1].size > 1:
        given[1] = given[1].reshape(-1, *[1] * (given[0].ndim - 2))
    if op == "Gather":
        n = given[0].shape[a["axis"]]
        given[1] = np.where(given[1] < 0, given[1] + n, given[1])
    if op == "OneHot":
        given[0] = np.where(given[0] < 0, given[0] + a["depth"], given[0])
    if op in ("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss") and "ignore_index" in a:
        given[1] = np.where(given[1] == a["ignore_index"], -1, given[1])


def stored(value):
    """f32, or i32 for indices and truth."""
    if value.dtype in REAL:
        return value.astype(np.float32)
    if value.dtype in (np.bool_, np.int64, np.int32):
        return value.astype(np.int32)
    return None


def why_left(nodes, values):
    ops = [n["op"] for n in nodes]
    if ops[0] in ("Conv", "ConvTranspose", "MaxPool", "AveragePool") and values[0].ndim > 4:
        return "three axes of space"
    if ops[0] in ("MaxPool", "AveragePool") and any(d > 1 for d in nodes[0]["attributes"]["dilations"]):
        return "a pool with dilation"
    for v in values:
        if stored(v) is None:
            return f"values of type {v.dtype}"
        if v.size == 0:
            return "a tensor without values"
        if v.ndim > 6:
            return "more than six axes"
    if not any(v.dtype in REAL for v in values) and ops != ["OneHot"]:
        return "arithmetic of integers"
    return None


def case(name, model, inputs, outputs):
    """A case as the file has it, and its tensors; or the reason why not."""
    graph = model.graph
    ops = [n.op_type for n in graph.node]
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    if any(v is None or isinstance(v, list) for v in [*inputs.values(), *outputs.values()]):
        return None, "sequences and optional values"
    inputs, outputs = ({k: np.asarray(v) for k, v in values.items()} for values in (inputs, outputs))
    known = constants | inputs
    known |= dict(outputs) if len(ops) == 1 else ReferenceEvaluator(model).run(None, inputs, intermediate=True)
    nodes, operands = [], {}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = known[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            continue
        given = [known[i] if i else None for i in node.input]
        made = [known[o] for o in node.output if o in known]
        opset = model.opset_import[0].version
        a, names = normal(node, given, made, opset)
        settle(node.op_type, given, a, opset)
        for key, v in zip(names, given):
            if key in inputs or key in constants:
                operands[key] = v
        a = {k: v for k, v in a.items() if not isinstance(v, onnx.TensorProto)}
        nodes.append({"op": node.op_type, "inputs": names, "outputs": list(node.output), "attributes": a})
    reason = why_left(nodes, [*operands.values(), *outputs.values()])
    if reason:
        return None, reason
    tensors = {k: stored(v) for k, v in operands.items()}
    half = any(v.dtype == np.float16 for v in [*inputs.values(), *outputs.values()])
    found = {"name": name, "nodes": nodes, "inputs": list(tensors), "outputs": list(outputs), "half": half}
    return found, tensors | {f"={k}": stored(v) for k, v in outputs.items()}


def node_cases():
    for test in collect_testcases(None):
        ops = [n.op_type for n in test.model.graph.node]
        if "expanded" not in test.name and len(ops) == 1 and ops[0] in OPS:
            graph, (inputs, outputs) = test.model.graph, test.data_sets[0]
            yield (
                "node/" + test.name.removeprefix("test_"),
                test.model,
                dict(zip([i.name for i in graph.input], inputs)),
                dict(zip([o.name for o in graph.output], outputs)),
            )


def recorded_cases(suite):
    root = pathlib.Path(onnx.__file__).parent / "backend/test/data" / suite
    for folder in sorted(root.iterdir()):
        model = onnx.load(folder / "model.onnx")
        constants = {i.name for i in model.graph.initializer}
        read = lambda path: numpy_helper.to_array(onnx.load_tensor(path))
        data = folder / "test_data_set_0"
        names = [i.name for i in model.graph.input if i.name not in constants]
        yield (
            suite + "/" + folder.name.removeprefix("test_"),
            model,
            {n: read(data / f"input_{i}.pb") for i, n in enumerate(names)},
            {o.name: read(data / f"output_{i}.pb") for i, o in enumerate(model.graph.output)},
        )


def main():
    cases, left, tensors = [], {}, {}
    for name, *rest in [*node_cases(), *recorded_cases("pytorch-operator"), *recorded_cases("pytorch-converted")]:
        found, what = case(name, *rest)
        if found is None:
            left[name] = what
            continue
        cases.append(found)
        tensors |= {f"{name}:{key}": np.ascontiguousarray(v).reshape(v.shape) for key, v in what.items()}
    about = f"Cases of onnx {onnx.__version__}'s backend tests, (c) ONNX Project Contributors, Apache-2.0"
    text = {"about": about, "cases": json.dumps(cases), "left": json.dumps(left)}
    raw = gzip.compress(save(tensors, text), 9, mtime=0)
    OUT.write_bytes(raw)
    print(f"{len(cases)} cases, {len(left)} left, {len(raw)} bytes")
    for reason in sorted(set(left.values())):
        print(f"  {reason}:", *[n for n, r in left.items() if r == reason])


main()
