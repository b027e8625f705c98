// Matrix products on cooperative matrices: as `gemm_tile`, a workgroup shares a tile of 64×64, and four subgroups multiply a
// quarter of it each, in fragments of SIZE × SIZE. The planner adds `coop8` or `coop16`, which say what fragments are, and
// `alias operand`, the type of their values.
//
// How many subgroups there are and which invocations are whose is left to the driver: those beyond the fourth only load.
// Fragments are loaded from workgroup memory alone, where nothing is outside; the sums go back there for what follows.
#import gemm_turn

const THREADS: u32 = 256u; // four subgroups of the largest size, or more of smaller ones

const DOWN: u32 = 16u;
const WIDE: u32 = 16u;
const TEAMS: u32 = 4u;
const ACROSS: u32 = 32u / SIZE; // fragments on a side of a quarter

// A line is as it lies in the operand, and sixteen bytes or more apart from a multiple of 64, so that lines lie in
// other banks.
const STRIDE_A: u32 = ALONG_A * 4u * DEEP + (1u - ALONG_A) * 64u + 8u;
const STRIDE_B: u32 = ALONG_B * 4u * DEEP + (1u - ALONG_B) * 64u + 8u;
var<workgroup> tile_a: array<operand, STRIDE_A * (ALONG_A * 64u + (1u - ALONG_A) * 4u * DEEP)>;
var<workgroup> tile_b: array<operand, STRIDE_B * (ALONG_B * 64u + (1u - ALONG_B) * 4u * DEEP)>;
var<workgroup> tile_y: array<f32, 4096>;

fn keep_a(nth: u32, s: Seat, v: vec4<acc>) {
    let k = nth * PASS + s.k;
    let at = select((4u * k + s.r) * STRIDE_A + 4u * s.block, (4u * s.block + s.r) * STRIDE_A + 4u * k, ALONG_A == 1u);
    tile_a[at] = operand(v.x);
    tile_a[at + 1u] = operand(v.y);
    tile_a[at + 2u] = operand(v.z);
    tile_a[at + 3u] = operand(v.w);
}

fn keep_b(nth: u32, s: Seat, v: vec4<acc>) {
    let k = nth * PASS + s.k;
    let at = select((4u * k + s.r) * STRIDE_B + 4u * s.block, (4u * s.block + s.r) * STRIDE_B + 4u * k, ALONG_B == 1u);
    tile_b[at] = operand(v.x);
    tile_b[at + 1u] = operand(v.y);
    tile_b[at + 2u] = operand(v.z);
    tile_b[at + 3u] = operand(v.w);
}

// Where the fragment of a at this step and row, and of b at this step and column, starts.
fn start_a(k: u32, row: u32) -> u32 {
    return select(k * STRIDE_A + row, row * STRIDE_A + k, ALONG_A == 1u);
}

fn start_b(k: u32, column: u32) -> u32 {
    return select(k * STRIDE_B + column, column * STRIDE_B + k, ALONG_B == 1u);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) team: u32,
) {
    //: beside
    let own = linear_id(workgroup);
    //: end
    let e = extent();
    let t = tile(own, e);
    let start = t.part * e.part;
    // A grid that is folded may have workgroups too many.
    if start >= e.taps * e.steps {
        return;
    }

    let row = team / 2u % 2u * 32u;
    let column = team % 2u * 32u;
    for (var i = lane; i < 4096u; i += THREADS) {
        tile_y[i] = 0.0;
    }
    workgroupBarrier();
    var y: array<total, ACROSS * ACROSS>;
    for (var i = 0u; i < ACROSS * ACROSS; i++) {
        y[i] = total_at((row + i / ACROSS * SIZE) * 64u + column + i % ACROSS * SIZE);
    }
    let l = loads(lane, t);
    var at = cursor(t, start, e);
    while at.left > 0u {
        workgroupBarrier();
        at = load(l, lane, at, e.steps);
        workgroupBarrier();
        if team < TEAMS {
            for (var q = 0u; q < 4u * DEEP; q += SIZE) {
                for (var i = 0u; i < ACROSS; i++) {
                    let u = left_at(start_a(q, row + i * SIZE));
                    for (var j = 0u; j < ACROSS; j++) {
                        y[i * ACROSS + j] = plus(u, right_at(start_b(q, column + j * SIZE)), y[i * ACROSS + j]);
                    }
                }
            }
        }
    }
    if team < TEAMS {
        for (var i = 0u; i < ACROSS * ACROSS; i++) {
            keep_total((row + i / ACROSS * SIZE) * 64u + column + i % ACROSS * SIZE, y[i]);
        }
    }
    workgroupBarrier();
    for (var i = lane; i < 1024u; i += THREADS) {
        let v = vec4<f32>(tile_y[4u * i], tile_y[4u * i + 1u], tile_y[4u * i + 2u], tile_y[4u * i + 3u]);
        store_row(t.top + i / 64u, i / 16u % 4u, t.leftmost + i % 16u, t.member, t.part, e, vec4<acc>(v));
    }
}
