//! How a device is used: what can be switched off to find what is at fault, and bounds to stay within.

use std::{env, fmt, path::PathBuf, time::Duration};

use crate::{Error, Result, caps::Kind, dispatch::count};

/// What a device is used with. [`Gpu::with`](super::Gpu::with) gives the same device under other settings.
///
/// Every device starts from the environment, so that the user of an app can change it without a new build:
/// `HALFGRAD_WITHOUT=f16,fusion,subgroups,trust`, `HALFGRAD_MEMORY=512M`, `HALFGRAD_SLICE=100` (milliseconds; 0 for none),
/// `HALFGRAD_AS=discrete` (or `integrated`, `software`), `HALFGRAD_TUNE=FOLDER`, `HALFGRAD_COOPERATIVE=1`.
///
/// ```
/// use halfgrad::gpu::Settings;
/// let settings = Settings::default().without("fusion, trust")?.memory("512M")?;
/// assert!(settings.f16 && !settings.fusion && !settings.trust);
/// assert_eq!(settings.memory, Some(512 << 20));
/// # Ok::<(), halfgrad::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Settings {
    /// Whether the feature `shader-f16` is used where it is there; else halves are packed two in a word.
    pub f16: bool,
    /// Whether elementwise ops are fused with each other and into kernels.
    pub fusion: bool,
    /// Whether invocations of a subgroup hand each other values where the adapter lets them; else all go through memory.
    pub subgroups: bool,
    /// Whether shaders are trusted to end their loops; else each loop is compiled with a guard. Bounds are always checked.
    pub trust: bool,
    /// Bytes that a plan may take on the device, its weights included. wgpu does not tell how much memory there is, so that
    /// there is no limit unless somebody sets one. Each plan is held against it alone.
    pub memory: Option<u64>,
    /// What one submission may take by the planner's pessimistic estimate: longer steps are submitted in parts, since drivers
    /// reset a GPU that does not answer. If nothing is set, a quarter of a second on integrated GPUs and on those of unknown kind, as
    /// browsers, virtual machines and many GL drivers have them, and no limit on others.
    pub slice: Option<Duration>,
    /// The folder that keeps which variants of matrix products and convolutions are fastest on each adapter; if there is none,
    /// the planner's estimate decides. A plan whose products it does not know yet measures them first, for less than five seconds,
    /// and the same file gives the same variants and so the same bits. A file that is broken or was measured elsewhere is replaced,
    /// with a [`Plan::warnings`](crate::Plan::warnings).
    pub tune: Option<PathBuf>,
    /// The kind that the adapter is taken for, which the variants of kernels are chosen by, instead of what it says it is.
    pub kind: Option<Kind>,
    /// Whether products may run on cooperative matrices where the adapter has them. wgpu calls them experimental, so they are off
    /// unless the device was opened with this.
    pub cooperative: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            f16: true,
            fusion: true,
            subgroups: true,
            trust: true,
            memory: None,
            slice: None,
            tune: None,
            kind: None,
            cooperative: false,
        }
    }
}

impl Settings {
    /// What can be switched off.
    pub const SWITCHES: [&str; 4] = ["f16", "fusion", "subgroups", "trust"];

    fn switch(&mut self, name: &str) -> Option<&mut bool> {
        match name {
            "f16" => Some(&mut self.f16),
            "fusion" => Some(&mut self.fusion),
            "subgroups" => Some(&mut self.subgroups),
            "trust" => Some(&mut self.trust),
            _ => None,
        }
    }

    /// What the environment says.
    ///
    /// # Errors
    /// [`Error::Name`] with the variable that cannot be read.
    pub fn from_env() -> Result<Self> {
        let get = |name: &'static str| env::var(name).ok().filter(|text| !text.is_empty()).map(|text| (name, text));
        let named = |name: &str, e: Error| Error::name(name, e.to_string());
        let tune = get("HALFGRAD_TUNE").map(|(_, folder)| folder.into());
        let mut settings = Settings { tune, ..Self::default() };
        if let Some((name, list)) = get("HALFGRAD_WITHOUT") {
            settings = settings.without(&list).map_err(|e| named(name, e))?;
        }
        if let Some((name, bytes)) = get("HALFGRAD_MEMORY") {
            settings = settings.memory(&bytes).map_err(|e| named(name, e))?;
        }
        if let Some((name, ms)) = get("HALFGRAD_SLICE") {
            let ms = ms.parse().map_err(|_| Error::name(name, format!("{ms:?} is no whole number of milliseconds")))?;
            settings.slice = Some(Duration::from_millis(ms));
        }
        if let Some((name, kind)) = get("HALFGRAD_AS") {
            settings.kind = Some(kind.parse().map_err(|e| named(name, e))?);
        }
        if let Some((name, choice)) = get("HALFGRAD_COOPERATIVE") {
            settings.cooperative = match choice.as_str() {
                "0" => false,
                "1" => true,
                _ => return Err(Error::name(name, format!("{choice:?} is not 0 or 1"))),
            };
        }
        Ok(settings)
    }

    /// Switches off what a list names: `f16,fusion`. What is `tune`d is off unless there is a folder for it.
    ///
    /// # Errors
    /// [`Error::Name`] with the word that is no switch.
    pub fn without(mut self, list: &str) -> Result<Self> {
        for name in list.split(',').map(str::trim) {
            let unknown =
                || Error::name(name, format!("no such switch; there are {}, tune", Self::SWITCHES.join(", ")));
            match name {
                "tune" => self.tune = None,
                _ => *self.switch(name).ok_or_else(unknown)? = false,
            }
        }
        Ok(self)
    }

    /// Sets the memory limit from text: a number of bytes, or of `K`, `M` or `G`, which are powers of 1024.
    ///
    /// # Errors
    /// [`Error::Name`] if it cannot be read.
    pub fn memory(self, text: &str) -> Result<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let unit = match &text[end..] {
            "" => Some(1),
            "K" => Some(1 << 10),
            "M" => Some(1 << 20),
            "G" => Some(1u64 << 30),
            _ => None,
        };
        let bytes = unit.and_then(|unit| text[..end].parse::<u64>().ok()?.checked_mul(unit));
        let wrong = || Error::name(text, "no number of bytes; write 512M or 2G");
        Ok(Settings { memory: Some(bytes.ok_or_else(wrong)?), ..self })
    }

    /// All that is not as usual, in words, for records of what was run: `without f16, memory limit 536.87 MB`; empty as a rule.
    pub fn description(&self) -> String {
        // Each field by its name, so that a new one is not forgotten.
        let Settings { f16: _, fusion: _, subgroups: _, trust: _, memory, slice, tune, kind, cooperative } = self;
        let off = self.to_string();
        let parts = [
            (!off.is_empty()).then(|| format!("without {off}")),
            tune.as_ref().map(|folder| format!("tuned in {}", folder.display())),
            memory.map(|bytes| format!("memory limit {}B", count(bytes))),
            slice.map(|slice| format!("slices of {slice:?}")),
            kind.map(|kind| format!("as {}", kind.name())),
            cooperative.then(|| "with cooperative matrices".to_owned()),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// What one submission may take on a device of this kind.
    pub fn slice_on(&self, kind: Kind) -> Option<Duration> {
        let usual = matches!(kind, Kind::Integrated | Kind::Virtual).then_some(Duration::from_millis(250));
        self.slice.or(usual).filter(|slice| !slice.is_zero())
    }
}

/// What is switched off, as [`Settings::without`] takes it; nothing if everything is on.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut all = self.clone();
        let off = Self::SWITCHES.into_iter().filter(|name| all.switch(name).is_some_and(|on| !*on));
        f.write_str(&off.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_weak_gpu_is_sliced_unless_the_user_says_otherwise() {
        let usual = Settings::default();
        for kind in [Kind::Discrete, Kind::Integrated, Kind::Virtual, Kind::Software] {
            let slices = matches!(kind, Kind::Integrated | Kind::Virtual);
            assert_eq!(usual.slice_on(kind), slices.then_some(Duration::from_millis(250)), "{kind:?}");
            let [set, off] = [7, 0].map(|ms| Settings { slice: Some(Duration::from_millis(ms)), ..usual.clone() });
            assert_eq!((set.slice_on(kind), off.slice_on(kind)), (Some(Duration::from_millis(7)), None), "{kind:?}");
        }
    }
}
