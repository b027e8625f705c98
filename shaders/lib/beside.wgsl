// Sums over the columns of a product's right operand, the gradient of a bias beside that of weights: workgroups of their own,
// behind those of the product. The file that imports this has `keep_sum(g, v)`, for group g of [splits, groups].
#import accumulate
#import grid

// Workgroups of the product, rows, groups of columns, splits; rows of a split, groups that a workgroup takes: a power of
// two, at most 16.
@group(1) @binding(1) var<uniform> table: array<vec4<u32>, 2>;

var<workgroup> columns: array<vec4<acc>, 64>;

// Whether this workgroup is one of those, whose work is then done.
fn beside(workgroup: vec3<u32>, lane: u32) -> bool {
    let first = table[0].x;
    if linear_id(workgroup) < first {
        return false;
    }
    let id = linear_id(workgroup) - first;
    let groups = table[0].z;
    let across = table[1].y;
    let blocks = (groups + across - 1u) / across;
    let split = id / blocks;
    let g = (id - split * blocks) * across + lane % across;
    let live = lane < 64u && g < groups && split < table[0].w;
    var s: Sum;
    if live {
        let end = min((split + 1u) * table[1].x, table[0].y);
        for (var k = split * table[1].x + lane / across; k < end; k += 64u / across) {
            s = added(s, unpack4(b[k * groups + g]));
        }
    }
    if lane < 64u {
        columns[lane] = whole(s);
    }
    for (var half = 32u; half >= across; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            columns[lane] = joined(columns[lane], columns[lane + half]);
        }
    }
    if live && lane < across {
        keep_sum(split * groups + g, columns[lane]);
    }
    return true;
}
