//! `halfgrad devices`: every adapter, and how it runs each precision.

use std::collections::BTreeMap;

use comfy_table::{Cell, Row, Table};
use halfgrad::{
    Caps, Precision,
    gpu::{self, Choice},
};
use serde::Serialize;

use super::record;
use crate::DevicesArgs;

#[derive(Serialize)]
struct Adapter {
    index: usize,
    default: bool,
    #[serde(flatten)]
    info: record::Adapter,
    features: Features,
    subgroup_sizes: Option<(u32, u32)>,
    limits: Limits,
    /// `native`, `packed` or `no`.
    precisions: BTreeMap<&'static str, &'static str>,
}

#[derive(Serialize)]
struct Features {
    f16: bool,
    subgroup: bool,
    timestamp: bool,
}

#[derive(Serialize)]
struct Limits {
    binding_bytes: u64,
    buffer_bytes: u64,
    storage_buffers: u32,
    workgroup_bytes: u32,
    workgroup_invocations: u32,
}

/// Prints the adapters.
pub fn run(args: &DevicesArgs) -> anyhow::Result<()> {
    if args.probe {
        return super::probe::run(args);
    }
    let found = pollster::block_on(gpu::adapters());
    let default = match gpu::choose(&Choice::Best, &found) {
        Ok(i) => Some(i),
        Err(e) if found.is_empty() => return Err(e.into()),
        Err(e) => {
            super::note(&format!("warning: the environment asks for an adapter that is not there: {e}"));
            None
        }
    };
    let described = found.iter().enumerate().map(|(i, a)| {
        let info = a.get_info();
        let caps = gpu::caps(&info, &a.features(), &a.limits());
        Adapter::new(i, default == Some(i), record::Adapter::of(&info, &caps), &caps)
    });
    let described: Vec<Adapter> = described.collect();
    match args.json {
        true => super::print_json(&described),
        false => super::print(&table(&described)),
    }
}

impl Adapter {
    fn new(index: usize, default: bool, info: record::Adapter, caps: &Caps) -> Self {
        let subgroup = caps.subgroup != (0, 0);
        Adapter {
            index,
            default,
            info,
            features: Features { f16: caps.shader_f16, subgroup, timestamp: caps.timestamps },
            subgroup_sizes: subgroup.then_some(caps.subgroup),
            limits: Limits {
                binding_bytes: caps.binding_bytes,
                buffer_bytes: caps.buffer_bytes,
                storage_buffers: caps.storage_buffers,
                workgroup_bytes: caps.workgroup_bytes,
                workgroup_invocations: caps.invocations,
            },
            precisions: Precision::PRESETS.iter().map(|(name, p)| (*name, caps.how(*p))).collect(),
        }
    }

    fn row(&self) -> Row {
        let yes = |has: bool| if has { "yes" } else { "no" };
        let precisions = Precision::PRESETS.map(|(name, _)| format!("{name:<11}{}", self.precisions[name]));
        let subgroups = match self.subgroup_sizes {
            None => "no".to_owned(),
            Some((least, most)) if least == most => format!("of {least}"),
            Some((least, most)) => format!("of {least} to {most}"),
        };
        let features = [
            format!("f16        {}", yes(self.features.f16)),
            format!("subgroups  {subgroups}"),
            format!("timestamps {}", yes(self.features.timestamp)),
        ];
        let l = &self.limits;
        let limits = [
            format!("binding    {}", binary(l.binding_bytes)),
            format!("buffer     {}", binary(l.buffer_bytes)),
            format!("bindings   {} storage buffers", l.storage_buffers),
            format!("workgroup  {}, {} threads", binary(l.workgroup_bytes.into()), l.workgroup_invocations),
        ];
        let i = &self.info;
        let name = [i.name.clone(), format!("{}, {}", i.backend, i.r#type), i.driver_line()].join("\n");
        let mark = if self.default { "*" } else { "" };
        Row::from(vec![
            Cell::new(format!("{mark}{}", self.index)),
            Cell::new(name),
            Cell::new(precisions.join("\n")),
            Cell::new(features.join("\n")),
            Cell::new(limits.join("\n")),
        ])
    }
}

fn table(adapters: &[Adapter]) -> String {
    let mut table = Table::new();
    table.load_style(super::TALL_TABLE).set_header(["", "adapter", "precisions", "features", "largest"]);
    table.add_rows(adapters.iter().map(Adapter::row));
    let chosen = match adapters.iter().any(|a| a.default) {
        true => "\n* is taken unless --adapter or HALFGRAD_ADAPTER says otherwise, by index or part of the name.",
        false => "",
    };
    format!(
        "{}{chosen}\nnative: 16 bit by the adapter's own f16; packed: two halves in a 32-bit word, f32 arithmetic.\n",
        table.trim_fmt()
    )
}

/// Bytes in binary units, rounded: `128 MiB`.
fn binary(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["KiB", "MiB", "GiB"] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    format!("{} {unit}", (value * 10.0).round() / 10.0)
}
