//! AMD's GPUs, through the files that the Linux driver keeps (kernel documentation, `gpu/amdgpu`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::message::GpuSample;

/// Where Linux lists graphics cards.
pub const CARDS: &str = "/sys/class/drm";
const AMD: &str = "0x1002";

/// One card.
#[derive(Debug, PartialEq, Eq)]
pub struct Card {
    device: PathBuf,
    /// Where power and temperature are.
    hwmon: Option<PathBuf>,
    name: String,
}

/// Every card of AMD's under `root` that has memory of its own to tell of.
pub fn cards(root: &Path) -> Vec<Card> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut numbered: Vec<_> =
        entries.filter_map(|entry| Some((number(&entry.path())?, entry.path()))).collect();
    numbered.sort();
    numbered.into_iter().filter_map(|(_, path)| Card::at(path.join("device"))).collect()
}

/// The number of `cardN`; its connectors are called `cardN-…`.
fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix("card")?.parse().ok()
}

impl Card {
    fn at(device: PathBuf) -> Option<Self> {
        if text(&device.join("vendor"))? != AMD {
            return None;
        }
        figure(&device.join("mem_info_vram_total"))?;
        let name = text(&device.join("product_name")).filter(|name| !name.is_empty());
        let id = text(&device.join("device")).unwrap_or_default();
        let name = name.unwrap_or_else(|| format!("AMD GPU {}", id.trim_start_matches("0x")));
        let hwmon = fs::read_dir(device.join("hwmon")).ok().and_then(|mut all| all.find_map(Result::ok));
        Some(Self { hwmon: hwmon.map(|entry| entry.path()), device, name })
    }

    /// How it is; what a driver does not tell stays out.
    #[allow(clippy::cast_precision_loss)] // Watts and degrees are shown, not summed exactly.
    pub fn sample(&self) -> GpuSample {
        let device = |file| figure(&self.device.join(file));
        let hwmon = |file| figure(&self.hwmon.as_ref()?.join(file));
        GpuSample {
            index: 0,
            name: self.name.clone(),
            vendor: "amd".into(),
            busy_percent: device("gpu_busy_percent").map(|percent| percent.min(100) as f32),
            memory_used_bytes: device("mem_info_vram_used"),
            memory_total_bytes: device("mem_info_vram_total"),
            power_watts: hwmon("power1_average")
                .or_else(|| hwmon("power1_input"))
                .map(|microwatts| microwatts as f32 / 1e6),
            temperature_c: hwmon("temp1_input").map(|millidegrees| millidegrees as f32 / 1e3),
            energy_joules: None,
        }
    }
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn figure(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    #[test]
    fn a_card_is_read_and_others_are_not() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("card1/device/vendor", "0x1002\n"),
                ("card1/device/device", "0x744c\n"),
                ("card1/device/mem_info_vram_total", "25753026560\n"),
                ("card1/device/mem_info_vram_used", "1073741824\n"),
                ("card1/device/gpu_busy_percent", "37\n"),
                ("card1/device/hwmon/hwmon3/power1_average", "215000000\n"),
                ("card1/device/hwmon/hwmon3/temp1_input", "61500\n"),
                ("card1-DP-1/status", "connected\n"),
                ("card0/device/vendor", "0x8086\n"),
                ("card2/device/vendor", "0x1002\n"),
            ],
        );
        let cards = cards(root.path());
        assert_eq!(cards.len(), 1);
        let expected = GpuSample {
            index: 0,
            name: "AMD GPU 744c".into(),
            vendor: "amd".into(),
            busy_percent: Some(37.0),
            memory_used_bytes: Some(1 << 30),
            memory_total_bytes: Some(25_753_026_560),
            power_watts: Some(215.0),
            temperature_c: Some(61.5),
            energy_joules: None,
        };
        assert_eq!(cards[0].sample(), expected);
    }

    #[test]
    fn a_card_that_tells_little_is_no_error() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("card0/device/vendor", "0x1002"),
                ("card0/device/mem_info_vram_total", "512"),
                ("card0/device/gpu_busy_percent", "?"),
            ],
        );
        let sample = cards(root.path())[0].sample();
        assert_eq!((sample.busy_percent, sample.power_watts, sample.memory_used_bytes), (None, None, None));
        assert_eq!(cards(Path::new("/nonexistent")), []);
    }
}
