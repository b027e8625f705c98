// Sums over the columns of a product's right operand, the gradient of a bias beside that of weights: workgroups of their own,
// spread evenly among those of the product, since a processor's cores take so many neighbours each. The file that imports this has
// `keep_sum(g, v)`, for group g of [splits, groups].
#import accumulate
#import grid
#import quotient

const SUMMING: u32 = 64u;        // invocations of a workgroup that sum: a power of two
const MANY_WORKGROUPS: u32 = 0u; // whether there are 2^20 or more

// Workgroups of the product, rows, groups of columns, splits; rows of a split, groups that a workgroup takes: a power of
// two, at most 16; workgroups of the sums; of so many neighbours one is of the kind that has fewer.
@group(1) @binding(1) var<uniform> table: array<vec4<u32>, 2>;

var<workgroup> columns: array<vec4<acc>, SUMMING>;

// This workgroup's number among those of the product; or NOWHERE if it is one of the others, whose work is then done.
fn beside(workgroup: vec3<u32>, lane: u32) -> u32 {
    let place = linear_id(workgroup);
    let sums = table[1].z;
    let every = table[1].w;
    let few = min(table[0].x, sums);
    let turn = quotient(place, every, MANY_WORKGROUPS);
    let rare = turn < few && place - turn * every == every - 1u;
    let id = select(place - min(turn, few), turn, rare);
    let of_product = rare == (few < sums);
    if !of_product {
        sum_columns(id, lane);
    }
    // The only return: FXC would take a result that has several for one that differs between invocations, and their barriers
    // behind it for a mistake.
    return select(NOWHERE, id, of_product);
}

// Workgroup `id` of the sums.
fn sum_columns(id: u32, lane: u32) {
    let groups = table[0].z;
    let across = table[1].y;
    let blocks = (groups + across - 1u) / across;
    let split = id / blocks;
    let g = (id - split * blocks) * across + lane % across;
    let live = lane < SUMMING && g < groups && split < table[0].w;
    var s: Sum;
    if live {
        let end = min((split + 1u) * table[1].x, table[0].y);
        for (var k = split * table[1].x + lane / across; k < end; k += SUMMING / across) {
            s = added(s, unpack4(group_b(k * groups + g)));
        }
    }
    if lane < SUMMING {
        columns[lane] = whole(s);
    }
    for (var half = SUMMING / 2u; half >= across; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            columns[lane] = joined(columns[lane], columns[lane + half]);
        }
    }
    if live && lane < across {
        keep_sum(split * groups + g, columns[lane]);
    }
}
