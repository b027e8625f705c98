// The largest value of a window. The file that imports this binds the image x.
#import axis
#import nan
#import resample

struct Winner {
    value: vec4<acc>,
    at: vec4<u32>, // the group of x that holds it, for each of four channels
}

// Of equal values the first wins. NaN wins over all, to stay visible.
fn winner(n: u32, rows: Span, columns: Span, q: u32) -> Winner {
    let first = ((n * p.h + rows.first) * p.w + columns.first) * groups(p.c) + q;
    var best = Winner(unpack4(x[first]), vec4(first));
    for (var i = rows.first; i < rows.end; i++) {
        for (var k = columns.first; k < columns.end; k++) {
            let at = ((n * p.h + i) * p.w + k) * groups(p.c) + q;
            let v = unpack4(x[at]);
            let wins = (v > best.value) | is_nan(v);
            best.value = select(best.value, v, wins);
            best.at = select(best.at, vec4(at), wins);
        }
    }
    return best;
}
