//! The GPU driver that the tool and the tests need, and the judge of shaders. The only file here that knows about operating systems.
//!
//! macOS and Windows bring one (Metal, DX12). On Linux the question goes to the Vulkan loader, as wgpu will put it: a
//! driver's manifest in `/usr/share/vulkan/icd.d` does not mean that its hardware is there, and `VK_DRIVER_FILES` and
//! the like are honoured without a word about them here.

use std::env;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Stop;

/// A distribution's way to install. The first word is the program.
struct Manager {
    install: &'static [&'static str],
    /// Mesa's software Vulkan driver, lavapipe, and the Vulkan loader.
    driver: &'static [&'static str],
    /// Mesa's Vulkan driver for AMD GPUs, RADV.
    #[cfg_attr(not(feature = "isa"), expect(dead_code, reason = "only that task asks for it"))]
    radv: &'static [&'static str],
    /// Fetches the lists of packages, for a manager that does not do so by itself.
    refresh: Option<&'static [&'static str]>,
}

const MANAGERS: &[Manager] = &[
    Manager {
        install: &["apt-get", "install", "-y", "--no-install-recommends"],
        driver: &["mesa-vulkan-drivers", "libvulkan1"],
        radv: &["mesa-vulkan-drivers", "libvulkan1"],
        refresh: Some(&["apt-get", "update"]),
    },
    Manager {
        install: &["dnf", "install", "-y"],
        driver: &["mesa-vulkan-drivers", "vulkan-loader"],
        radv: &["mesa-vulkan-drivers", "vulkan-loader"],
        refresh: None,
    },
    Manager {
        install: &["zypper", "--non-interactive", "install"],
        driver: &["libvulkan_lvp", "libvulkan1"],
        radv: &["libvulkan_radeon", "libvulkan1"],
        refresh: None,
    },
    Manager {
        install: &["pacman", "-S", "--noconfirm", "--needed"],
        driver: &["vulkan-swrast", "vulkan-icd-loader"],
        radv: &["vulkan-radeon", "vulkan-icd-loader"],
        refresh: Some(&["pacman", "-Sy"]),
    },
    Manager {
        install: &["apk", "add", "-U"],
        driver: &["mesa-vulkan-swrast", "vulkan-loader"],
        radv: &["mesa-vulkan-ati", "vulkan-loader"],
        refresh: None,
    },
];

/// Debian's Chromium brings SwiftShader, a second Vulkan in software with other limits and other rounding.
const SWIFTSHADER: &str = "/usr/lib/chromium/vk_swiftshader_icd.json";

/// Makes sure that there is a device to run on, and installs Mesa's software driver where there is none.
pub fn ensure() -> Result<(), Stop> {
    if !cfg!(target_os = "linux") || loader::vulkan_has_device() {
        return Ok(());
    }
    let none = "no Vulkan device on this machine";
    let what = "Mesa's software Vulkan driver and the Vulkan loader";
    let Err(why) = install(none, what, |m| m.driver, loader::vulkan_has_device) else { return Ok(()) };
    if loader::gl_works() {
        eprintln!("xtask: {why}\nxtask: going on with OpenGL, which has no native f16");
        return Ok(());
    }
    Err(Stop::new(2, format!("xtask: {why}")))
}

/// Gives a program that will use the GPU a place to keep what the driver compiles. `home` lives as long as the build.
pub fn prepare(program: &mut Command, home: &Path) -> io::Result<()> {
    if cfg!(target_os = "linux") {
        // Mesa makes the last directory of the path only, and goes without a cache if another is missing. The second
        // variable keeps Mesa's Wayland library from printing an error on machines without a desktop.
        std::fs::create_dir_all(home)?;
        for name in ["MESA_SHADER_CACHE_DIR", "XDG_RUNTIME_DIR"] {
            if env::var_os(name).is_none() {
                program.env(name, home);
            }
        }
    }
    Ok(())
}

/// Shows a program SwiftShader beside the system's own drivers, if it is installed.
pub fn add_swiftshader(program: &mut Command) {
    if Path::new(SWIFTSHADER).exists() && env::var_os("VK_ADD_DRIVER_FILES").is_none() {
        program.env("VK_ADD_DRIVER_FILES", SWIFTSHADER);
    }
}

/// Makes sure of Khronos' judge of SPIR-V; every distribution's package has the same name.
pub fn ensure_spirv_val() -> Result<(), Stop> {
    let missing = || !on_path("spirv-val");
    if !missing() {
        return Ok(());
    }
    let done = install("spirv-val is not installed", "spirv-tools", |_| &["spirv-tools"], || !missing());
    done.map_err(|why| Stop::new(2, format!("xtask: {why}")))
}

/// Makes sure of Mesa's driver for AMD GPUs, to compile with; its manifest, as the Vulkan loader wants it.
#[cfg(feature = "isa")]
pub fn ensure_radv() -> Result<std::path::PathBuf, Stop> {
    let found = || {
        let folders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"].map(std::fs::read_dir);
        let mut files = folders.into_iter().flatten().flatten().filter_map(|entry| entry.ok().map(|e| e.path()));
        files.find(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with("radeon_icd")))
    };
    if found().is_none() {
        install("Mesa's driver for AMD GPUs is not installed", "RADV", |m| m.radv, || found().is_some())
            .map_err(|why| Stop::new(2, format!("xtask: {why}")))?;
    }
    found().ok_or_else(|| Stop::new(2, "xtask: no manifest of Mesa's driver for AMD GPUs"))
}

/// Installs what is missing: `none` says what there is not, `what` what to install, `there` whether it is there now.
fn install(
    none: &str,
    what: &str,
    packages: fn(&Manager) -> &'static [&'static str],
    there: impl Fn() -> bool,
) -> Result<(), String> {
    let Some(manager) = manager(on_path) else {
        return Err(format!("{none}: please install {what}"));
    };
    let command = [manager.install, packages(manager)].concat();
    let typed = command.join(" ");
    let Some(rights) = rights() else {
        return Err(format!("{none}: please type\n    sudo {typed}"));
    };
    eprintln!("xtask: {none}, installing {what}: {typed}");
    let mut installed = succeeds(rights, &command);
    if let (false, Some(refresh)) = (installed, manager.refresh) {
        eprintln!("xtask: the list of packages may be old, once more after: {}", refresh.join(" "));
        installed = succeeds(rights, refresh) && succeeds(rights, &command);
    }
    match (installed, there()) {
        (_, true) => Ok(()),
        (true, false) => Err(format!("still {none} after `{typed}`")),
        (false, false) => Err(format!("`{typed}` did not work")),
    }
}

fn manager(has: impl Fn(&str) -> bool) -> Option<&'static Manager> {
    MANAGERS.iter().find(|m| has(m.install[0]))
}

fn on_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// What to put before a command to run it as root, if that goes without a password.
fn rights() -> Option<&'static [&'static str]> {
    let user = Command::new("id").arg("-u").output().ok()?;
    if user.stdout == b"0\n" {
        return Some(&[]);
    }
    let sudo = Command::new("sudo").args(["-n", "true"]).stderr(Stdio::null()).status();
    sudo.is_ok_and(|s| s.success()).then_some(&["sudo", "-n"])
}

fn succeeds(rights: &[&str], command: &[&str]) -> bool {
    let words = [rights, &["env", "DEBIAN_FRONTEND=noninteractive"], command].concat();
    Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).status().is_ok_and(|s| s.success())
}

#[cfg(not(target_os = "linux"))]
mod loader {
    pub fn vulkan_has_device() -> bool {
        true
    }
    pub fn gl_works() -> bool {
        true
    }
}

#[cfg(target_os = "linux")]
mod loader {
    use std::ffi::{CStr, c_char, c_int, c_void};
    use std::mem::transmute_copy;
    use std::ptr::{null, null_mut};

    unsafe extern "C" {
        fn dlopen(file: *const c_char, mode: c_int) -> *mut c_void;
        fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    }

    /// VkInstanceCreateInfo: Vulkan 1.0, no layers, no extensions.
    #[repr(C)]
    struct InstanceInfo {
        kind: c_int,
        next: *const c_void,
        flags: u32,
        application: *const c_void,
        layers: u32,
        layer_names: *const c_void,
        extensions: u32,
        extension_names: *const c_void,
    }

    type CreateInstance = unsafe extern "C" fn(*const InstanceInfo, *const c_void, *mut *mut c_void) -> c_int;
    type EnumeratePhysicalDevices = unsafe extern "C" fn(*mut c_void, *mut u32, *mut c_void) -> c_int;
    type DestroyInstance = unsafe extern "C" fn(*mut c_void, *const c_void);
    type GetPlatformDisplay = unsafe extern "C" fn(u32, *mut c_void, *const c_void) -> *mut c_void;
    type Initialize = unsafe extern "C" fn(*mut c_void, *mut c_int, *mut c_int) -> u32;

    pub fn vulkan_has_device() -> bool {
        const LIBRARY: &CStr = c"libvulkan.so.1";
        // SAFETY: the types are those of vulkan_core.h, for the functions asked for by name; all zeros are valid.
        unsafe {
            let Some(create) = symbol::<CreateInstance>(LIBRARY, c"vkCreateInstance") else { return false };
            let Some(enumerate) = symbol::<EnumeratePhysicalDevices>(LIBRARY, c"vkEnumeratePhysicalDevices") else {
                return false;
            };
            let Some(destroy) = symbol::<DestroyInstance>(LIBRARY, c"vkDestroyInstance") else { return false };
            let mut info: InstanceInfo = std::mem::zeroed();
            info.kind = 1; // VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO
            let (mut instance, mut count) = (null_mut(), 0);
            if create(&info, null(), &mut instance) != 0 {
                return false;
            }
            let answered = enumerate(instance, &mut count, null_mut()) == 0;
            destroy(instance, null());
            answered && count > 0
        }
    }

    /// OpenGL without a window, as wgpu opens it on a machine without a desktop.
    pub fn gl_works() -> bool {
        const LIBRARY: &CStr = c"libEGL.so.1";
        const SURFACELESS: u32 = 0x31DD; // EGL_PLATFORM_SURFACELESS_MESA
        // SAFETY: the types are those of egl.h, for the functions asked for by name; null is the default display.
        unsafe {
            let Some(display) = symbol::<GetPlatformDisplay>(LIBRARY, c"eglGetPlatformDisplay") else { return false };
            let Some(initialize) = symbol::<Initialize>(LIBRARY, c"eglInitialize") else { return false };
            let display = display(SURFACELESS, null_mut(), null());
            !display.is_null() && initialize(display, null_mut(), null_mut()) != 0
        }
    }

    /// A function of a shared library that stays loaded; none if either is missing.
    ///
    /// # Safety
    /// `F` must be the C type of the function that `name` stands for.
    unsafe fn symbol<F: Copy>(library: &CStr, name: &CStr) -> Option<F> {
        const RTLD_NOW: c_int = 2;
        // SAFETY: both names end in zero; dlopen returns null or a handle that dlsym takes.
        unsafe {
            let library = dlopen(library.as_ptr(), RTLD_NOW);
            if library.is_null() {
                return None;
            }
            let function = dlsym(library, name.as_ptr());
            (!function.is_null()).then(|| transmute_copy::<*mut c_void, F>(&function))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_is_the_one_that_the_system_has() {
        for name in ["apt-get", "dnf", "zypper", "pacman", "apk"] {
            assert_eq!(manager(|program| program == name).map(|m| m.install[0]), Some(name));
        }
        assert!(manager(|_| false).is_none());
    }

    #[test]
    fn every_command_begins_with_its_program() {
        for Manager { install, refresh, .. } in MANAGERS {
            assert!(refresh.is_none_or(|refresh| refresh[0] == install[0]), "{install:?}");
        }
    }

    #[test]
    fn a_program_that_every_linux_has_is_found() {
        assert!(!cfg!(target_os = "linux") || on_path("sh"));
        assert!(!on_path("no-such-program"));
    }

    #[test]
    fn the_cache_directory_is_made() {
        let home = crate::target().join("driver-test").join("deep");
        prepare(&mut Command::new("true"), &home).unwrap();
        assert!(!cfg!(target_os = "linux") || home.is_dir());
    }
}
