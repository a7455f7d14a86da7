//! The GPUs of every maker, in one list.

use common::message::{GpuSample, TEXT_BYTES_MAX};

use super::{amd, nvidia};
use crate::bounded::shortened;

/// What there is to ask.
#[derive(Debug)]
pub struct Gpus {
    nvidia: Option<nvidia::Driver>,
    amd: Vec<amd::Card>,
}

impl Gpus {
    pub fn new() -> Self {
        Self { nvidia: nvidia::Driver::load(), amd: amd::cards(amd::CARDS.as_ref()) }
    }

    /// Numbered through, in the order of the makers' own numbers.
    pub fn sample(&self) -> Vec<GpuSample> {
        let nvidia = self.nvidia.iter().flat_map(nvidia::Driver::sample);
        let amd = self.amd.iter().map(amd::Card::sample);
        let numbered = nvidia.chain(amd).zip(0..);
        numbered
            .map(|(gpu, index)| GpuSample { index, name: shortened(&gpu.name, TEXT_BYTES_MAX), ..gpu })
            .collect()
    }
}
