#import quotient

// Where label `i` lies among labels whose last axis has this length: that axis is padded to a multiple of four.
fn label_place(i: u32, last: u32) -> u32 {
    let outer = quotient(i, last, 1u);
    return outer * ((last + 3u) & 0xfffffffcu) + i - outer * last;
}

// Whether a label is left out: `graph::IGNORE`, or the one that the user chose.
fn is_ignored(label: u32, chosen: u32) -> bool {
    return label == 0xffffffffu || label == chosen;
}
