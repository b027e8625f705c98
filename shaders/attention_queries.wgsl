// Gradient of attention with respect to the queries: with the shares a = softmax(x) made again from x = q · kᵀ · scale,
// dx = a · (dy · vᵀ − Σ dy · y) and dq = dx · k · scale.
#import attention

@group(0) @binding(0) var<storage, read> q: array<elem4>;        // [members, t, d]
@group(0) @binding(1) var<storage, read> k: array<elem4>;        // [members, s, d]
@group(0) @binding(2) var<storage, read> v: array<elem4>;        // [members, s, d]
@group(0) @binding(3) var<storage, read> rows: array<wide4>;     // [members, blocks of t, 3]: see attention_rows.wgsl
@group(0) @binding(4) var<storage, read> dy: array<elem4>;       // [members, t, d]
@group(0) @binding(5) var<storage, read_write> dq: array<elem4>; // [members, t, d]

var<workgroup> slopes: array<vec4<acc>, 256>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tiles = (p.t + 15u) / 16u;
    let id = linear_id(workgroup);
    let member = id / tiles;
    if member >= p.members {
        return;
    }
    let i = id % tiles * 4u + lane / 16u;
    let part = lane % 16u;
    let end = keys_before(min(p.t, id % tiles * 16u + 16u));
    let a = four(member, i, p.t);
    let row = 3u * (member * groups(p.t) + min(i, groups(p.t) - 1u));
    let top = unpack4_wide(rows[row]);
    let whole = max(unpack4_wide(rows[row + 1u]), vec4(acc(0.5)));
    let mean = unpack4_wide(rows[row + 2u]);
    var out: array<block, WIDE>;
    for (var first = 0u; first < end; first += 16u) {
        let j = first + part;
        let b = four(member, j, p.s);
        var x = block();
        var z = block();
        // Invocations beyond the end have nothing to see.
        let steps = select(0u, p.d, i < groups(p.t) && j < end);
        for (var n = 0u; n < steps; n++) {
            let u = block(unpack4(q[a.x + n]), unpack4(q[a.y + n]), unpack4(q[a.z + n]), unpack4(q[a.w + n]));
            let w = block(unpack4(k[b.x + n]), unpack4(k[b.y + n]), unpack4(k[b.z + n]), unpack4(k[b.w + n]));
            x += transpose(w) * (u * acc(p.scale));
            let du = block(unpack4(dy[a.x + n]), unpack4(dy[a.y + n]), unpack4(dy[a.z + n]), unpack4(dy[a.w + n]));
            let dw = block(unpack4(v[b.x + n]), unpack4(v[b.y + n]), unpack4(v[b.z + n]), unpack4(v[b.w + n]));
            z += transpose(dw) * du;
        }
        for (var r = 0u; r < 4u; r++) {
            var seen: vec4<bool>;
            for (var c = 0u; c < 4u; c++) {
                seen[c] = visible(member, 4u * i + r, 4u * j + c);
            }
            let slope = exp_acc(x[r] - top[r]) / whole[r] * (z[r] - mean[r]);
            slopes[4u * lane + r] = select(vec4<acc>(), slope, seen);
        }
        workgroupBarrier();
        for (var c = 0u; c < min(16u, end - first); c++) {
            let at = 4u * (lane - part + c);
            let slope = block(slopes[at], slopes[at + 1u], slopes[at + 2u], slopes[at + 3u]);
            let b = four(member, first + c, p.s);
            for (var w = 0u; w < WIDE; w++) {
                let n = part + 16u * w;
                if n < p.d {
                    out[w] += block(unpack4(k[b.x + n]), unpack4(k[b.y + n]), unpack4(k[b.z + n]), unpack4(k[b.w + n])) * slope;
                }
            }
        }
        workgroupBarrier();
    }
    for (var r = 0u; r < 4u; r++) {
        for (var w = 0u; w < WIDE; w++) {
            let n = part + 16u * w;
            if 4u * i + r < p.t && n < p.d {
                dq[(member * p.t + 4u * i + r) * p.d + n] = pack4(out[w][r] * acc(p.scale));
            }
        }
    }
}
