//! Long steps in parts: drivers reset a GPU that works longer on one submission than their watchdog allows.

use std::{ops::Range, time::Duration};

use crate::{
    dispatch::{Dispatch, Program},
    error::Warning,
};

/// Rates that the slowest integrated GPUs reach with our kernels: operations and bytes a second.
const SLOWEST: (f64, f64) = (20e9, 4e9);

/// What a dispatch takes on a slow integrated GPU.
fn estimate(d: &Dispatch) -> Duration {
    let bytes = d.bytes_read() + d.bytes_written();
    Duration::from_secs_f64((d.flops as f64 / SLOWEST.0).max(bytes as f64 / SLOWEST.1))
}

/// What each dispatch of a program takes.
pub(super) fn estimates(program: &Program) -> Vec<Duration> {
    program.dispatches.iter().map(estimate).collect()
}

/// Dispatches that take these times in parts, none of which takes longer than `slice` unless it is a single dispatch.
pub(super) fn slices(times: impl ExactSizeIterator<Item = Duration>, slice: Option<Duration>) -> Vec<Range<usize>> {
    let all = 0..times.len();
    let Some(slice) = slice else { return vec![all] };
    let (mut parts, mut start, mut sum) = (vec![], 0, Duration::ZERO);
    for (i, time) in times.enumerate() {
        if i > start && sum + time > slice {
            parts.push(start..i);
            (start, sum) = (i, Duration::ZERO);
        }
        sum += time;
    }
    parts.push(start..all.end);
    parts
}

/// As [`slices`] of so many runs of the dispatches `range`: for each part what it takes of each run.
pub(super) fn slices_of(
    times: &[Duration],
    range: Range<usize>,
    runs: usize,
    slice: Option<Duration>,
) -> Vec<Vec<Range<usize>>> {
    let n = range.len().max(1);
    let parts = slices((0..runs * range.len()).map(|i| times[range.start + i % n]), slice);
    let of_runs = |part: Range<usize>| {
        let of_run = |run: usize| part.start.max(run * n) - run * n..part.end.min((run + 1) * n) - run * n;
        let runs = part.start / n..part.end.div_ceil(n);
        runs.map(of_run).map(|r| range.start + r.start..range.start + r.end).collect()
    };
    parts.into_iter().map(of_runs).collect()
}

/// The dispatches that alone take longer than `slice`.
pub fn too_long(program: &Program, slice: Option<Duration>) -> Vec<Warning> {
    let Some(slice) = slice else { return vec![] };
    let long = program.dispatches.iter().filter(|d| estimate(d) > slice);
    long.map(|d| {
        let (time, slice) = (estimate(d).as_millis(), slice.as_millis());
        let what = format!(
            "{} may take {time} ms on a slow GPU, the time slice is {slice} ms: a driver's watchdog may end it",
            d.label
        );
        Warning { what, cure: "a smaller batch makes it shorter".into() }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dtype, Precision, dispatch::Shader};

    #[test]
    fn parts_hold_all_dispatches_in_order_and_none_is_too_long() {
        let ms = |ms: u64| (SLOWEST.0 as u64 / 1000 * ms) as usize;
        let times = [30, 30, 30, 200, 10, 50, 41];
        let shader = Shader::new("test", "", Dtype::F32, Precision::F32);
        let dispatches = times.map(|t| Dispatch::new(format!("d{t}"), shader.clone()).flops(ms(t))).to_vec();
        let program = Program { dispatches, ..Program::default() };
        let ends = |program: &Program, slice: Option<u64>| -> Vec<(usize, usize)> {
            let parts = slices(estimates(program).into_iter(), slice.map(Duration::from_millis));
            parts.into_iter().map(|part| (part.start, part.end)).collect()
        };
        assert_eq!(ends(&program, Some(100)), [(0, 3), (3, 4), (4, 6), (6, 7)]);
        assert_eq!(ends(&program, Some(1000)), [(0, 7)]);
        assert_eq!(ends(&program, None), [(0, 7)]);
        assert_eq!(ends(&Program::default(), Some(1)), [(0, 0)]);
        let runs = |runs: usize, slice: Option<u64>| -> Vec<Vec<(usize, usize)>> {
            let parts = slices_of(&estimates(&program), 4..7, runs, slice.map(Duration::from_millis));
            parts.into_iter().map(|part| part.into_iter().map(|r| (r.start, r.end)).collect()).collect()
        };
        assert_eq!(runs(1, Some(100)), [[(4, 6)], [(6, 7)]]);
        // Runs of 10, 50 and 41 ms: the end of one may go with the start of the next.
        assert_eq!(runs(2, Some(101)), [[(4, 7)], [(4, 7)]]);
        assert_eq!(runs(2, Some(100)), [vec![(4, 6)], vec![(6, 7), (4, 5)], vec![(5, 7)]]);
        assert_eq!(runs(3, None), [[(4, 7), (4, 7), (4, 7)]]);
        let long = too_long(&program, Some(Duration::from_millis(100)));
        assert!(long.len() == 1 && long[0].what.starts_with("d200 may take 200 ms"), "{long:?}");
    }
}
