// The uniforms of a convolution, and how image and result lie to each other.
#import quotient

const VAST: u32 = 0u; // whether image or result has 2^20 pixels or more

struct Params {
    members: u32, // groups of channels; to the image: of each phase of rows and columns
    down: u32,    // block rows of the product; depthwise: pixels, to the weights: stretches of rows of the result
    wide: u32,    // block columns
    taps: u32,    // matrices summed; depthwise: weights of a channel
    steps: u32,   // groups of four that each is summed over; depthwise: pixels of a stretch
    n: u32,       // images [n, h, w, c]
    h: u32,
    w: u32,
    c: u32,
    oh: u32,      // results [n, oh, ow, o]
    ow: u32,
    o: u32,
    inner: u32,   // channels of a member in the image
    outer: u32,   // and in the result
    kh: u32,      // weights [kh, kw, inner, o]
    kw: u32,
    stride_h: u32,
    stride_w: u32,
    before_h: u32, // padding above and left
    before_w: u32,
    dilation_h: u32,
    dilation_w: u32,
    // What follows is for the gradient to the image, conv2d_image.wgsl.
    pixels_h: u32, // rows and columns of a phase, as many as the one with the most has
    pixels_w: u32,
    step_h: u32,   // from one weight that a pixel meets to the next: stride / g, with g = gcd(stride, dilation)
    step_w: u32,
    hop_h: u32,    // and from what it sees with that, back to what it sees with the next: dilation / g
    hop_w: u32,
    inverse_h: u32, // hop · inverse = 1 modulo step
    inverse_w: u32,
    part: u32, // of taps · steps, how many one part of the sum takes; depthwise: of stretches
}
@group(1) @binding(0) var<uniform> p: Params;

// A pixel (image, row, column) of four, given its number.
struct Pixels {
    n: vec4<u32>,
    y: vec4<u32>,
    x: vec4<u32>,
}

fn pixels(number: vec4<u32>, height: u32, width: u32) -> Pixels {
    let row = quotients(number, width, VAST);
    let n = quotients(row, height, VAST);
    return Pixels(n, row - n * height, number - row * width);
}

struct Pixel {
    n: u32,
    y: u32,
    x: u32,
}

fn pixel(number: u32, height: u32, width: u32) -> Pixel {
    let at = pixels(vec4(number), height, width);
    return Pixel(at.n.x, at.y.x, at.x.x);
}
