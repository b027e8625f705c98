//! Times of single dispatches, by the device's own clock.

use std::ops::Range;

use super::{device::Gpu, readback::Reading};
use crate::Result;

/// Two timestamps for each of some dispatches.
#[derive(Debug)]
pub struct Stamps {
    pub(super) set: wgpu::QuerySet,
    pub(super) resolved: wgpu::Buffer,
    pub(super) range: Range<usize>,
}

impl Stamps {
    /// For these dispatches of an executable; `None` if the device takes no timestamps, or not so many.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory) and [`Error::Device`](crate::Error::Device).
    pub fn new(gpu: &Gpu, range: Range<usize>) -> Result<Option<Self>> {
        let count = 2 * range.len() as u32;
        if !gpu.caps().timestamps || count == 0 || count > wgpu::QUERY_SET_MAX_QUERIES {
            return Ok(None);
        }
        let make = || {
            let set = gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("stamps"),
                ty: wgpu::QueryType::Timestamp,
                count,
            });
            let resolved = gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("stamps"),
                size: u64::from(count) * u64::from(wgpu::QUERY_SIZE),
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            });
            Stamps { set, resolved, range }
        };
        gpu.guarded("making room for timestamps", make).map(Some)
    }

    pub(super) fn of(&self, dispatch: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        let first = 2 * (dispatch - self.range.start) as u32;
        wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        }
    }

    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.set, 0..2 * self.range.len() as u32, &self.resolved, 0);
    }

    /// The seconds that each dispatch took, when it was last run.
    pub fn read(&self, gpu: &Gpu) -> Reading<Vec<f64>> {
        let second = f64::from(gpu.queue().get_timestamp_period()) * 1e-9;
        Reading::new(gpu, &[(&self.resolved, 0, self.resolved.size())], move |bytes| {
            let ticks: Vec<u64> = bytes.chunks_exact(8).map(bytemuck::pod_read_unaligned).collect();
            // A clock that was reset in between gives 0 and not 500 years.
            Ok(ticks.chunks_exact(2).map(|t| t[1].saturating_sub(t[0]) as f64 * second).collect())
        })
    }
}
