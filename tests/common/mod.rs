//! What several tests share: the rules that every Program keeps.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use halfgrad::{
    Caps, Precision,
    dispatch::{Access, Dispatch, Program, Role, Shader, Source},
    gpu::compose,
};

/// Fails, naming the dispatch, where a program breaks a rule of WebGPU or of the planner.
pub fn keeps_the_rules(program: &Program, caps: &Caps) -> Result<(), String> {
    // What was written where: buffer and offset, bytes.
    let mut written: BTreeMap<(usize, u64), u64> = BTreeMap::new();
    for (i, d) in program.dispatches.iter().enumerate() {
        let wrong = |what: String| Err(format!("dispatch {i} {:?}: {what}\n{program}", d.label));
        if d.bindings.len() > caps.storage_buffers as usize {
            return wrong(format!("{} storage buffers", d.bindings.len()));
        }
        for (x, _) in &d.bindings {
            if x.offset + x.bytes() > program.buffers[x.buffer].bytes || x.offset % 256 != 0 {
                return wrong(format!("{x:?} is not within its buffer"));
            }
        }
        // One buffer in two bindings: only read by both, or written by both in ranges that do not meet.
        for (k, (x, a)) in d.bindings.iter().enumerate() {
            for (y, b) in d.bindings[..k].iter().filter(|(y, _)| y.buffer == x.buffer) {
                let (read_x, read_y) = (*a == Access::Read, *b == Access::Read);
                let apart = x.offset + x.bytes() <= y.offset || y.offset + y.bytes() <= x.offset;
                if read_x != read_y || (!read_x && !apart) {
                    return wrong(format!("{} is bound as {a:?} and {b:?}", program.buffers[x.buffer].name));
                }
            }
        }
        // A temporary is read only after it was written, and no further.
        let temporary = |b: usize| {
            let buffer = &program.buffers[b];
            let slot = buffer.name.strip_prefix('s').is_some_and(|n| n.parse::<u32>().is_ok());
            slot && buffer.role == Role::Activations && buffer.source == Source::Plan
        };
        for (x, _) in d.bindings.iter().filter(|(x, a)| *a != Access::Write && temporary(x.buffer)) {
            match written.get(&(x.buffer, x.offset)) {
                None => return wrong(format!("{} is read before it is written", program.buffers[x.buffer].name)),
                Some(&bytes) if bytes < x.bytes() => {
                    return wrong(format!("{bytes} bytes were written and {} are read", x.bytes()));
                }
                _ => {}
            }
        }
        for (x, _) in d.bindings.iter().filter(|(_, a)| *a == Access::Write) {
            let apart = |(b, at): (usize, u64), bytes: u64| {
                b != x.buffer || at + bytes <= x.offset || x.offset + x.bytes() <= at
            };
            written.retain(|place, bytes| apart(*place, *bytes));
            written.insert((x.buffer, x.offset), x.bytes());
        }
        let grid: u64 = d.grid.iter().map(|&g| u64::from(g)).product();
        if grid == 0 || d.grid.iter().any(|&g| g > caps.workgroups) {
            return wrong(format!("grid {:?}", d.grid));
        }
    }
    Ok(())
}

/// Composes every dispatch for adapters with and without `shader-f16` and with both ways to pack, through naga.
pub fn shaders_are_valid(program: &Program, precision: Precision) -> Result<(), String> {
    // The same text with the same bindings is looked at once.
    static SEEN: Mutex<BTreeSet<(Shader, String)>> = Mutex::new(BTreeSet::new());
    let new = |d: &&Dispatch| {
        let access: Vec<Access> = d.bindings.iter().map(|b| b.1).collect();
        let names: Vec<&str> = d.params.iter().map(|p| p.0).collect();
        SEEN.lock().unwrap().insert(((*d.shader).clone(), format!("{access:?} {names:?}")))
    };
    let dispatches: Vec<&Dispatch> = program.dispatches.iter().filter(new).collect();
    for (shader_f16, pack_exact) in [(true, true), (false, true), (false, false)] {
        let caps = Caps { shader_f16, pack_exact, ..Caps::reference() };
        if caps.supports(precision).is_err() {
            continue;
        }
        for d in &dispatches {
            let module = compose::compose(&d.shader, &caps).and_then(|text| compose::parse(&d.shader, &text, &caps));
            let checked = module.and_then(|(m, _)| compose::check(d, &m));
            checked.map_err(|e| format!("{:?}, f16 {shader_f16}, exact {pack_exact}: {e}", d.label))?;
        }
    }
    Ok(())
}
