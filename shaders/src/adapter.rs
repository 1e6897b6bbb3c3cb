//! Opens an adapter with just the limits that the shaders were written for.

use crate::error::{GpuError, Place};
use std::sync::{Arc, Mutex, PoisonError};
use wgpu::{
    Adapter, Backends, Buffer, BufferDescriptor, BufferUsages, DeviceType, ErrorFilter, Features,
    Instance, InstanceDescriptor, Limits,
};

/// Offsets of bound ranges are multiples of this; no driver demands more.
pub(crate) const RANGE_ALIGN: u64 = 256;

/// Names of the adapters there are, in the order in which they are tried.
pub fn adapter_names() -> Vec<String> {
    adapters().iter().map(|adapter| adapter.get_info().name).collect()
}

/// Hardware first, then drivers that compute on the CPU.
fn adapters() -> Vec<Adapter> {
    let instance = Instance::new(InstanceDescriptor {
        backends: Backends::VULKAN,
        ..InstanceDescriptor::new_without_display_handle()
    });
    let mut adapters = pollster::block_on(instance.enumerate_adapters(Backends::VULKAN));
    adapters.sort_by_key(|adapter| adapter.get_info().device_type == DeviceType::Cpu);
    adapters
}

/// The floor of small drivers. Only the sizes of buffers are taken from the adapter: networks
/// differ in what they need of those.
fn floor(adapter: &Limits) -> Limits {
    Limits {
        max_storage_buffers_per_shader_stage: 8,
        max_compute_workgroup_storage_size: 16 << 10,
        max_compute_invocations_per_workgroup: 256,
        max_compute_workgroup_size_x: 256,
        max_compute_workgroup_size_y: 256,
        max_compute_workgroups_per_dimension: 65535,
        max_buffer_size: adapter.max_buffer_size,
        max_storage_buffer_binding_size: adapter.max_storage_buffer_binding_size,
        ..Limits::downlevel_defaults().or_worse_values_from(adapter)
    }
}

/// An opened adapter.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) limits: Limits,
    lost: Arc<Mutex<Option<String>>>,
}

impl Device {
    /// Opens the first adapter, or the first whose name contains `name`.
    pub(crate) fn open(name: Option<&str>) -> Result<Self, GpuError> {
        let adapters = adapters();
        let fits =
            |adapter: &&Adapter| name.is_none_or(|name| adapter.get_info().name.contains(name));
        let adapter = adapters.iter().find(fits).ok_or_else(|| GpuError::NoAdapter {
            name: name.map(str::to_owned),
            found: adapters.iter().map(|adapter| adapter.get_info().name).collect(),
        })?;
        Self::from_adapter(adapter)
    }

    fn from_adapter(adapter: &Adapter) -> Result<Self, GpuError> {
        let limits = floor(&adapter.limits());
        check_limits(&limits, &adapter.limits())?;
        let name = adapter.get_info().name;
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("unbraid"),
            required_features: Features::empty(),
            required_limits: limits.clone(),
            ..Default::default()
        }))
        .map_err(|source| GpuError::NoDevice { adapter: name.clone(), source })?;
        let lost = Arc::new(Mutex::new(None));
        let reason = Arc::clone(&lost);
        device.set_device_lost_callback(move |_, message| {
            *reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
        });
        Ok(Self { name, device, queue, limits, lost })
    }

    /// Runs `work`; what the driver or wgpu then reports becomes the error.
    pub(crate) fn guarded<T>(
        &self,
        work: impl FnOnce() -> Result<T, GpuError>,
    ) -> Result<T, GpuError> {
        let filters = [ErrorFilter::Validation, ErrorFilter::Internal, ErrorFilter::OutOfMemory];
        let mut scopes = filters.map(|filter| Some(self.device.push_error_scope(filter)));
        let done = work();
        // Scopes nest: the last one pushed ends first.
        let reported = scopes.iter_mut().rev().filter_map(Option::take);
        let reported = reported.filter_map(|scope| pollster::block_on(scope.pop())).last();
        if let Some(reason) = self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Err(GpuError::Lost(reason));
        }
        match reported {
            Some(wgpu::Error::OutOfMemory { .. }) => Err(GpuError::OutOfMemory),
            Some(error) => Err(GpuError::Refused(error.to_string())),
            None => done,
        }
    }

    /// A buffer of `size` bytes.
    pub(crate) fn buffer(&self, label: &str, size: u64, usage: BufferUsages) -> Buffer {
        let label = Some(label);
        self.device.create_buffer(&BufferDescriptor {
            label,
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    /// Refuses what is larger than a storage binding may be.
    pub(crate) fn check_binding(&self, place: Place, bytes: u64) -> Result<(), GpuError> {
        let found = self.limits.max_storage_buffer_binding_size;
        check(place, "max_storage_buffer_binding_size", bytes, found)
    }

    /// Refuses what is larger than a buffer may be.
    pub(crate) fn check_buffer(&self, place: Place, bytes: u64) -> Result<(), GpuError> {
        check(place, "max_buffer_size", bytes, self.limits.max_buffer_size)
    }
}

/// Refuses `needed > found`.
pub(crate) fn check(
    place: Place,
    limit: &'static str,
    needed: u64,
    found: u64,
) -> Result<(), GpuError> {
    if needed <= found { Ok(()) } else { Err(GpuError::Limit { place, limit, needed, found }) }
}

fn check_limits(wanted: &Limits, adapter: &Limits) -> Result<(), GpuError> {
    let mut failure = Ok(());
    wanted.check_limits_with_fail_fn(adapter, true, |limit, needed, found| {
        failure = Err(GpuError::Limit { place: Place::Adapter, limit, needed, found });
    });
    failure
}
