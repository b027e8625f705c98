// The first pass of softmax and cross-entropy over rows that are cut: see `lib/stretches.wgsl`. Reads a stretch once if its
// invocations can hold it, and meets twice.
#import axis
#import exponentials
#import logits

const HOLDS_EXPONENTIALS: bool = false;

fn work(workgroup: u32, lane: u32) {
    var held: Held;
    _ = exponentials(own_stretch(workgroup, lane, groups(p.last)), p.last, &held);
}
