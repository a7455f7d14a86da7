//! NVIDIA's GPUs, through the library that comes with their driver.

use common::message::GpuSample;
use nvml_wrapper::{Device, Nvml, enum_wrappers::device::TemperatureSensor};
use tracing::debug;

/// The driver's library, loaded.
#[derive(Debug)]
pub struct Driver(Nvml);

impl Driver {
    /// Loads it, where there is one.
    pub fn load() -> Option<Self> {
        match Nvml::init() {
            Ok(nvml) => Some(Self(nvml)),
            Err(error) => {
                debug!(%error, "no NVIDIA driver");
                None
            }
        }
    }

    /// Every GPU that can be asked; one that fell off the bus is left out.
    pub fn sample(&self) -> Vec<GpuSample> {
        let count = self.0.device_count().unwrap_or(0);
        (0..count).filter_map(|index| self.0.device_by_index(index).ok()).map(|gpu| sample(&gpu)).collect()
    }
}

/// What a GPU does not tell (a passively cooled one, one in partitions) stays out.
#[allow(clippy::cast_precision_loss)] // Watts and joules are shown, not summed exactly.
fn sample(gpu: &Device<'_>) -> GpuSample {
    let memory = gpu.memory_info().ok();
    GpuSample {
        index: gpu.index().unwrap_or(0),
        name: gpu.name().unwrap_or_else(|_| "NVIDIA GPU".into()),
        vendor: "nvidia".into(),
        busy_percent: gpu.utilization_rates().ok().map(|rates| rates.gpu as f32),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        memory_total_bytes: memory.as_ref().map(|memory| memory.total),
        power_watts: gpu.power_usage().ok().map(|milliwatts| milliwatts as f32 / 1000.0),
        temperature_c: gpu.temperature(TemperatureSensor::Gpu).ok().map(|degrees| degrees as f32),
        energy_joules: gpu.total_energy_consumption().ok().map(|millijoules| millijoules as f64 / 1000.0),
    }
}
