//! SPIR-V through AMD's Vulkan compiler (Mesa RADV) for a chip that is not there; what it says of the machine code.
//!
//! The device is opened as wgpu-hal opens it as far as code depends on that: with robust access to buffers, which makes
//! the driver check their bounds, and with uniforms at dynamic offsets. wgpu itself cannot: it needs timeline semaphores,
//! which the driver lacks when it pretends.

use std::{collections::BTreeMap, error::Error, ffi::CStr, fs, path::Path};

use ash::{khr, vk};

use super::assembly;

/// The driver of the first device, which must be one that pretends: `Mesa 22.3.6`. Then a line for each file of `folder`.
pub fn print(folder: &str) -> Result<(), Box<dyn Error>> {
    // SAFETY: plain Vulkan objects from valid structures; nothing is submitted, and the process ends soon.
    let device = unsafe { Device::open()? };
    println!("{}", device.driver);
    let mut files: Vec<_> = fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    for path in files {
        let words = ash::util::read_spv(&mut fs::File::open(&path)?)?;
        // SAFETY: as above; the words are SPIR-V that naga wrote.
        let (statistics, code) = unsafe { device.compile(&words)? };
        println!("{}\t{}", stem(&path), line(&statistics, &code));
    }
    Ok(())
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The numbers in the order of [`super::table::COLUMNS`], divided by tabs.
fn line(statistics: &BTreeMap<String, u64>, code: &str) -> String {
    let get = |name: &str| statistics.get(name).copied().unwrap_or(0);
    let code = assembly::Counts::of(code);
    let share = code.share.map_or("-".to_owned(), |s| s.to_string());
    [
        get("VGPRs").to_string(),
        get("SGPRs").to_string(),
        (get("Spilled VGPRs") + get("Spilled SGPRs")).to_string(),
        get("LDS size").to_string(),
        get("Subgroups per SIMD").to_string(),
        get("Instructions").to_string(),
        code.packed.to_string(),
        share,
        get("Latency").to_string(),
        get("Inverse Throughput").to_string(),
    ]
    .join("\t")
}

struct Device {
    driver: String,
    device: ash::Device,
    executable: khr::pipeline_executable_properties::Device,
    layout: vk::PipelineLayout,
    /// The loader must outlive the device.
    _instance: (ash::Entry, ash::Instance),
}

impl Device {
    unsafe fn open() -> Result<Self, Box<dyn Error>> {
        let vulkan = unsafe { ash::Entry::load()? };
        let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let info = vk::InstanceCreateInfo::default().application_info(&app);
        let instance = unsafe { vulkan.create_instance(&info, None)? };
        let gpu = *unsafe { instance.enumerate_physical_devices()? }.first().ok_or("no device")?;
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
        unsafe { instance.get_physical_device_properties2(gpu, &mut properties) };
        let name = properties.properties.device_name_as_c_str()?.to_string_lossy().into_owned();
        if !name.contains("Null hardware") {
            return Err(format!("{name} is a real device; RADV_FORCE_FAMILY was not understood").into());
        }
        let device = unsafe { create(&instance, gpu)? };
        let executable = khr::pipeline_executable_properties::Device::new(&instance, &device);
        let driver = text(&driver.driver_info);
        let layout = unsafe { layout(&device)? };
        Ok(Device { driver, device, executable, layout, _instance: (vulkan, instance) })
    }

    /// The driver's statistics of a shader, and its machine code as text.
    unsafe fn compile(&self, words: &[u32]) -> Result<(BTreeMap<String, u64>, String), vk::Result> {
        let module = vk::ShaderModuleCreateInfo::default().code(words);
        let module = unsafe { self.device.create_shader_module(&module, None)? };
        let stage = vk::PipelineShaderStageCreateInfo::default();
        let stage = stage.stage(vk::ShaderStageFlags::COMPUTE).module(module).name(c"main");
        let create = vk::ComputePipelineCreateInfo::default().stage(stage).layout(self.layout).flags(
            vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR,
        );
        let made = unsafe { self.device.create_compute_pipelines(vk::PipelineCache::null(), &[create], None) };
        let pipeline = made.map_err(|(_, e)| e)?[0];
        let which = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(0);
        let found = unsafe { self.executable.get_pipeline_executable_statistics(&which)? };
        // SAFETY: RADV's statistics are 64-bit integers, all of them.
        let value = |s: &vk::PipelineExecutableStatisticKHR| (text(&s.name), unsafe { s.value.u64 });
        let code = unsafe { self.assembly(&which)? };
        Ok((found.iter().map(value).collect(), code))
    }

    unsafe fn assembly(&self, which: &vk::PipelineExecutableInfoKHR) -> Result<String, vk::Result> {
        let get = self.executable.fp().get_pipeline_executable_internal_representations_khr;
        let device = self.device.handle();
        let mut count = 0;
        unsafe { get(device, which, &mut count, std::ptr::null_mut()).result()? };
        let mut found = vec![vk::PipelineExecutableInternalRepresentationKHR::default(); count as usize];
        // The first call says how long each text is, the second fills it.
        unsafe { get(device, which, &mut count, found.as_mut_ptr()).result()? };
        let mut texts: Vec<Vec<u8>> = found.iter().map(|r| vec![0; r.data_size]).collect();
        for (r, text) in found.iter_mut().zip(&mut texts) {
            r.p_data = text.as_mut_ptr().cast();
        }
        unsafe { get(device, which, &mut count, found.as_mut_ptr()).result()? };
        let assembly = found.iter().position(|r| text(&r.name) == "Assembly");
        Ok(assembly.map_or_else(String::new, |i| String::from_utf8_lossy(&texts[i]).into_owned()))
    }
}

/// A device with the features that wgpu-hal enables and that change code.
unsafe fn create(instance: &ash::Instance, gpu: vk::PhysicalDevice) -> Result<ash::Device, vk::Result> {
    let features = vk::PhysicalDeviceFeatures::default().robust_buffer_access(true).shader_int16(true);
    let mut v11 = vk::PhysicalDeviceVulkan11Features::default()
        .storage_buffer16_bit_access(true)
        .uniform_and_storage_buffer16_bit_access(true);
    let mut v12 = vk::PhysicalDeviceVulkan12Features::default()
        .shader_float16(true)
        .vulkan_memory_model(true)
        .vulkan_memory_model_device_scope(true);
    let mut v13 = vk::PhysicalDeviceVulkan13Features::default()
        .shader_zero_initialize_workgroup_memory(true)
        .subgroup_size_control(true);
    let mut robust = vk::PhysicalDeviceRobustness2FeaturesEXT::default().robust_buffer_access2(true);
    let mut statistics =
        vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
    let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
    let extensions = [khr::pipeline_executable_properties::NAME.as_ptr(), ash::ext::robustness2::NAME.as_ptr()];
    let info = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&extensions)
        .enabled_features(&features)
        .push_next(&mut v11)
        .push_next(&mut v12)
        .push_next(&mut v13)
        .push_next(&mut robust)
        .push_next(&mut statistics);
    unsafe { instance.create_device(gpu, &info, None) }
}

/// Group 0: storage buffers, more than any shader has. Group 1: two uniforms at dynamic offsets.
unsafe fn layout(device: &ash::Device) -> Result<vk::PipelineLayout, vk::Result> {
    let mut groups = vec![];
    for (count, kind) in [(64, vk::DescriptorType::STORAGE_BUFFER), (2, vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC)] {
        let binding = vk::DescriptorSetLayoutBinding::default().descriptor_type(kind).descriptor_count(1);
        let bindings: Vec<_> =
            (0..count).map(|i| binding.binding(i).stage_flags(vk::ShaderStageFlags::COMPUTE)).collect();
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        groups.push(unsafe { device.create_descriptor_set_layout(&info, None)? });
    }
    let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&groups);
    unsafe { device.create_pipeline_layout(&info, None) }
}

/// A name in one of Vulkan's fixed arrays.
fn text(chars: &[std::ffi::c_char]) -> String {
    // SAFETY: Vulkan ends its names with a zero.
    unsafe { CStr::from_ptr(chars.as_ptr()) }.to_string_lossy().into_owned()
}
