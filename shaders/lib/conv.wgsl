// The uniforms of a convolution, and how image and result lie to each other.

struct Params {
    members: u32, // groups of channels
    down: u32,    // block rows of the product; depthwise: rows
    wide: u32,    // block columns
    taps: u32,    // matrices summed
    steps: u32,   // groups of four that each is summed over; depthwise: values
    n: u32,       // images [n, h, w, c]
    h: u32,
    w: u32,
    c: u32,
    oh: u32,      // results [n, oh, ow, o]
    ow: u32,
    o: u32,
    kh: u32,      // weights [kh, kw, c / members, o]
    kw: u32,
    stride_h: u32,
    stride_w: u32,
    before_h: u32, // padding above and left
    before_w: u32,
    dilation_h: u32,
    dilation_w: u32,
    part: u32, // of taps · steps, how many one part of the sum takes
}
@group(1) @binding(0) var<uniform> p: Params;

// Channels of a member, in the image and in the result.
fn inner() -> u32 {
    return p.c / p.members;
}
fn outer() -> u32 {
    return p.o / p.members;
}

// A pixel (image, row, column) of four, given its number.
struct Pixels {
    n: vec4<u32>,
    y: vec4<u32>,
    x: vec4<u32>,
}

fn pixels(number: vec4<u32>, height: u32, width: u32) -> Pixels {
    let row = number / vec4(width);
    let n = row / vec4(height);
    return Pixels(n, row - n * height, number - row * width);
}

struct Pixel {
    n: u32,
    y: u32,
    x: u32,
}

fn pixel(number: u32, height: u32, width: u32) -> Pixel {
    let row = number / width;
    let n = row / height;
    return Pixel(n, row - n * height, number - row * width);
}
