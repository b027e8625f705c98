//! Clock rates, where the system tells them.

use std::{collections::BTreeMap, fs};

use super::report::Clock;

/// Megahertz by what they belong to.
pub type Rates = BTreeMap<String, f64>;

/// The rates at this moment: the fastest processor core, and what Linux says of each graphics card.
pub fn read() -> Rates {
    let mut rates = Rates::new();
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores =
        text.lines().filter(|l| l.starts_with("cpu MHz")).filter_map(|l| l.split(':').nth(1)?.trim().parse().ok());
    if let Some(fastest) = cores.max_by(f64::total_cmp) {
        rates.insert("processor".into(), fastest);
    }
    for i in 0..8 {
        let folder = format!("/sys/class/drm/card{i}");
        let file = |name: &str| fs::read_to_string(format!("{folder}/{name}")).ok();
        // i915 and xe give a number, amdgpu a list in which the current rate has a star.
        let intel = file("gt_act_freq_mhz").and_then(|text| text.trim().parse().ok());
        let amd = || {
            let list = file("device/pp_dpm_sclk")?;
            let line = list.lines().find(|l| l.ends_with('*'))?;
            line.split_whitespace().nth(1)?.trim_end_matches("Mhz").parse().ok()
        };
        if let Some(rate) = intel.or_else(amd) {
            rates.insert(format!("card{i}"), rate);
        }
    }
    rates
}

/// The rates at the start of a run with those of now.
pub fn since(start: Rates) -> Vec<Clock> {
    let now = read();
    let clock = |(of, start): (String, f64)| now.get(&of).map(|&end| Clock { of, start_mhz: start, end_mhz: end });
    start.into_iter().filter_map(clock).collect()
}
