//! Odd shapes beside their rounded-up neighbours: how much longer a multiply-add takes, without what the dispatches take that do
//! nothing and with it, the worst first.
//!
//! `cargo bench --features reference --bench cliffs -- [part of a name]`

mod common;

use std::{collections::BTreeMap, time::Duration};

use halfgrad::{
    Gpu, Graph, Precision, Tensor,
    bench::{
        Effort, kernels,
        suite::{self, Build, Family, Kernel, Make},
    },
    ops::{Conv2d, Padding},
};

const EFFORT: Effort = Effort { budget: Duration::from_millis(120), least: 5, most: 200, steady: 0.02 };
/// Sizes of products, one of them odd at a time; the other two are `EVEN`.
const ODD: [usize; 8] = [1, 3, 5, 17, 63, 65, 127, 129];
const EVEN: usize = 256;
/// Products of which all sizes are odd.
const CUBES: [usize; 6] = [33, 65, 127, 129, 511, 513];
const CHANNELS: [usize; 5] = [1, 3, 5, 17, 33];

/// A kernel at odd sizes.
struct Odd {
    name: &'static str,
    build: Build,
    sizes: Vec<usize>,
    flops: fn(&[usize]) -> usize,
}

/// What the neighbour has in the place of a size: the next power of two, from 64 on the next multiple of 64; a lone line
/// is held against a group of four.
fn rounded(size: usize) -> usize {
    match size {
        1 => 4,
        2..64 => size.next_power_of_two(),
        _ => size.next_multiple_of(64),
    }
}

fn main() {
    let Some(filter) = common::filter() else { return };
    let gpu = Gpu::new().expect("an adapter");
    println!("{}", gpu.caps().adapter);
    let odd: Vec<Odd> = products().into_iter().chain(convolutions()).filter(|odd| odd.name.contains(&filter)).collect();
    let idle = measured(&gpu, &IDLE, &[4], Precision::F32).seconds;
    println!("a dispatch that does next to nothing takes {:.1} µs", 1e6 * idle);
    let mut known = BTreeMap::new();
    let mut found = vec![];
    for precision in [Precision::F32, Precision::F16] {
        for odd in &odd {
            let even: Vec<usize> = odd.neighbour();
            let mut time = |sizes: &[usize], again: bool| {
                let found: &mut Time = known
                    .entry((precision.to_string(), odd.name, sizes.to_vec()))
                    .or_insert_with(|| measured(&gpu, odd, sizes, precision));
                if again {
                    found.seconds = found.seconds.min(measured(&gpu, odd, sizes, precision).seconds);
                }
                *found
            };
            let mut ratios = |again: bool| {
                let (own, other) = (time(&odd.sizes, again), time(&even, again));
                // What the neighbour's rate makes of its work.
                let expected = other.seconds / (odd.flops)(&even) as f64 * (odd.flops)(&odd.sizes) as f64;
                let without = (own.seconds - own.dispatches as f64 * idle).max(0.0);
                (without / expected, own.seconds / expected, own)
            };
            let mut ratio = ratios(false);
            if ratio.1 > 3.0 {
                // The driver's threads share cores as they are woken, and stay so for a while.
                ratio = ratios(true);
            }
            eprintln!("{precision} {} {:?}: {:.3} ms, {:.2} ×", odd.name, odd.sizes, 1e3 * ratio.2.seconds, ratio.1);
            found.push((ratio, precision, odd, even));
        }
    }
    found.sort_by(|a, b| b.0.0.total_cmp(&a.0.0));
    for ((without, whole, own), precision, odd, even) in &found {
        println!(
            "{without:>6.2} × the time a FLOP, {whole:>5.2} × with what {} of such take  {precision:<4} {:<24} {:<28} {:>7.2} GFLOP/s, beside {even:?}",
            own.dispatches,
            odd.name,
            format!("{:?}", odd.sizes),
            1e-9 * (odd.flops)(&odd.sizes) as f64 / own.seconds
        );
    }
}

/// The least that a dispatch can do.
const IDLE: Odd = Odd { name: "relu", build: |g, s| g.input("x", [s[0]]).relu(), sizes: vec![], flops: |s| s[0] };

/// How long something takes.
#[derive(Clone, Copy)]
struct Time {
    seconds: f64,
    dispatches: usize,
}

/// The median time of a kernel, which was held against f64 before.
fn measured(gpu: &Gpu, odd: &Odd, sizes: &[usize], precision: Precision) -> Time {
    let axes = "";
    // A bench makes few of them and ends.
    let family = Box::leak(Box::new(Family { name: odd.name, axes, make: Make::Tensor(odd.build), sizes: &[] }));
    let kernel = Kernel { family, sizes: sizes.to_vec().leak() };
    let found = kernels::measure(gpu, &kernel, precision, EFFORT).expect("a kernel that runs");
    let bound = if precision == Precision::F32 { 1e-4 } else { 1e-2 };
    assert!(found.error.is_none_or(|e| e < bound), "{} {sizes:?}, {precision}: {:?} off", odd.name, found.error);
    Time { seconds: found.timing.wall.median, dispatches: found.dispatches }
}

impl Odd {
    fn neighbour(&self) -> Vec<usize> {
        match self.sizes[..] {
            // n, h, w, channels, window, results, stride, groups: each group is rounded, strides are not.
            [n, h, w, c, k, o, stride, groups] => {
                let part = |size: usize| groups * if size == groups { 1 } else { rounded(size / groups) };
                let channels = if groups == c { [c.next_multiple_of(4); 2] } else { [part(c), part(o)] };
                let groups = if groups == c { channels[0] } else { groups };
                let [n, h, w] = [n, h, w].map(rounded);
                vec![n, h, w, channels[0], if k == 1 { 1 } else { k.next_power_of_two() }, channels[1], stride, groups]
            }
            _ => self.sizes.iter().map(|&size| rounded(size)).collect(),
        }
    }
}

fn products() -> Vec<Odd> {
    let forms: [(&str, Build); 4] = [
        ("matmul a·b", |g, s| g.input("a", [s[0], s[1]]).matmul(g.input("b", [s[1], s[2]]))),
        ("matmul aᵀ·b", |g, s| g.input("a", [s[1], s[0]]).matmul_with(g.input("b", [s[1], s[2]]), true, false)),
        ("matmul a·bᵀ", |g, s| g.input("a", [s[0], s[1]]).matmul_with(g.input("b", [s[2], s[1]]), false, true)),
        ("matmul aᵀ·bᵀ", |g, s| g.input("a", [s[1], s[0]]).matmul_with(g.input("b", [s[2], s[1]]), true, true)),
    ];
    let batched: Build = |g, s| g.input("a", [s[0], s[1], s[2]]).matmul(g.input("b", [s[0], s[2], s[3]]));
    let flops = |s: &[usize]| 2 * s.iter().product::<usize>();
    let mut found = vec![];
    for (name, build) in forms {
        let one = |place: usize, size: usize| (0..3).map(|i| if i == place { size } else { EVEN }).collect::<Vec<_>>();
        let singles = (0..3).flat_map(|place| ODD.map(|size| one(place, size)));
        let cubes = CUBES.map(|size| vec![size; 3]);
        found.extend(singles.chain(cubes).map(|sizes| Odd { name, build, sizes, flops }));
    }
    for sizes in [[3, 65, 65, 65], [17, 33, 17, 33], [5, 1, 257, 65], [5, 65, 257, 1], [64, 17, 3, 65]] {
        found.push(Odd { name: "matmul batched", build: batched, sizes: sizes.to_vec(), flops });
    }
    found
}

fn convolutions() -> Vec<Odd> {
    let ways: [(&str, Build); 3] = [
        ("conv2d", |g, s| convolution(g, s)[0]),
        ("conv2d image gradient", |g, s| gradient(g, s, 1)),
        ("conv2d weight gradient", |g, s| gradient(g, s, 2)),
    ];
    let mut shapes: Vec<[usize; 8]> = vec![];
    for k in [1, 3, 5, 7] {
        for stride in [1, 2] {
            shapes.extend(CHANNELS.map(|c| [4, 16, 16, c, k, 32, stride, 1]));
        }
    }
    shapes.extend(CHANNELS.map(|o| [4, 16, 16, 32, 3, o, 1, 1]));
    shapes.extend([[1, 16, 16, 32, 3, 32, 1, 1], [1, 7, 7, 64, 3, 64, 1, 1]]);
    shapes.extend([[4, 15, 17, 32, 3, 32, 1, 1], [4, 7, 7, 64, 3, 64, 2, 1], [4, 7, 7, 32, 7, 32, 1, 1]]);
    // Groups, and channels by themselves.
    shapes.extend([[4, 16, 16, 24, 3, 24, 1, 8], [4, 16, 16, 15, 3, 15, 1, 3], [4, 16, 16, 64, 3, 32, 1, 32]]);
    shapes.extend([[4, 16, 16, 33, 3, 33, 1, 33], [4, 32, 32, 3, 5, 3, 2, 3], [1, 7, 7, 65, 7, 65, 1, 65]]);
    let flops = |s: &[usize]| {
        let [oh, ow] = [s[1], s[2]].map(|size| size.div_ceil(s[6]));
        2 * s[0] * oh * ow * s[3] / s[7] * s[4] * s[4] * s[5]
    };
    let odd = |sizes: [usize; 8]| ways.map(|(name, build)| Odd { name, build, sizes: sizes.to_vec(), flops });
    shapes.into_iter().flat_map(odd).collect()
}

/// A convolution of n × h × w × channels, window, results, stride, groups; its image and its weights.
fn convolution<'g>(g: &'g Graph, s: &[usize]) -> [Tensor<'g>; 3] {
    let (x, w) = (g.input("x", [s[0], s[1], s[2], s[3]]), g.input("w", [s[4], s[4], s[3] / s[7], s[5]]));
    let options = Conv2d { stride: [s[6]; 2], padding: Padding::Same, groups: s[7], ..Conv2d::default() };
    [x.conv2d(w, options), x, w]
}

fn gradient<'g>(g: &'g Graph, s: &[usize], to: usize) -> Tensor<'g> {
    let all = convolution(g, s);
    suite::gradient(all[0], all[to])
}
