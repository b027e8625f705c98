//! Counts what the process allocates, and tells by the call stack whether this crate asked for it or wgpu and what lies below.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    backtrace::Backtrace,
    cell::Cell,
    sync::Mutex,
    sync::atomic::{AtomicBool, Ordering},
};

/// The global allocator of a program that counts.
pub struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static FOUND: Mutex<Vec<Allocation>> = Mutex::new(vec![]);

thread_local! {
    /// Whether this thread is about to note an allocation, which allocates by itself.
    static NOTING: Cell<bool> = const { Cell::new(false) };
}

/// One allocation, or one that was made larger.
#[derive(Debug, Clone)]
pub struct Allocation {
    pub bytes: usize,
    /// The innermost line of ours on the stack, unless wgpu or what lies below it was called from there.
    pub ours: Option<String>,
}

/// What is ours no longer: only names tell, since dependencies are built without lines.
const THEIRS: [&str; 6] = ["wgpu", "naga", "gpu_allocator", "ash::", "glow::", "metal::"];

// SAFETY: all of it is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        unsafe { System.realloc(memory, layout, size) }
    }
}

fn note(bytes: usize) {
    if !ON.load(Ordering::Relaxed) || NOTING.replace(true) {
        return;
    }
    let ours = asks(&Backtrace::force_capture().to_string());
    FOUND.lock().unwrap().push(Allocation { bytes, ours });
    NOTING.set(false);
}

/// The line of ours that asks for memory, if nobody else is between.
fn asks(stack: &str) -> Option<String> {
    let own = |file: &str| file.starts_with("./") && !file.contains("allocations.rs");
    let mut name = "";
    for line in stack.lines().map(str::trim_start) {
        match line.strip_prefix("at ") {
            // Our files are relative to the crate's folder.
            Some(file) if own(file) && !name.starts_with("__rust") => return Some(file.to_owned()),
            // Generic code of theirs is built with ours.
            Some(file) if THEIRS.iter().any(|name| file.contains(&format!("/{name}"))) => return None,
            Some(_) => {}
            None => {
                name = line.split_once(": ").map_or("", |(_, name)| name).trim_start_matches('<');
                if THEIRS.iter().any(|theirs| name.starts_with(theirs)) {
                    return None;
                }
            }
        }
    }
    Some("a thread of its own".into())
}

/// To be called before anything else. Built for debugging, wgpu takes backtraces at its locks if the environment asks for those of
/// panics, and to take one within another is a deadlock.
pub fn prepare() {
    // SAFETY: no other thread looks at the environment yet.
    unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
}

/// What was allocated meanwhile, in all threads.
pub fn during(work: impl FnOnce()) -> Vec<Allocation> {
    ON.store(true, Ordering::SeqCst);
    work();
    ON.store(false, Ordering::SeqCst);
    std::mem::take(&mut *FOUND.lock().unwrap())
}
