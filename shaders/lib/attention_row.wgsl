// What attention_rows.wgsl found of queries, for a file that binds it as `rows`.
#import attention_sees

// Of block i of queries: the largest scores, Σ exp (of a query that sees nothing, not 0), and Σ dy · y.
struct Row {
    top: vec4<acc>,
    whole: vec4<acc>,
    mean: vec4<acc>,
}

fn row_of(member: u32, i: u32) -> Row {
    let blocks = groups(p.t);
    let at = 3u * (member * blocks + min(i, blocks - 1u));
    let whole = max(unpack4_wide(rows[at + 1u]), vec4(acc(0.5)));
    return Row(unpack4_wide(rows[at]), whole, unpack4_wide(rows[at + 2u]));
}
