//! Processor, memory, disks and network of this host.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use common::message::HostSample;
use sysinfo::{CpuRefreshKind, DiskRefreshKind, Disks, MemoryRefreshKind, Networks, System};

/// Where Linux describes its network interfaces.
const INTERFACES: &str = "/sys/class/net";
/// File systems that are another's view, a server's, or no disk at all.
const NOT_DISKS: [&str; 12] = [
    "9p", "autofs", "cifs", "devtmpfs", "efivarfs", "nfs", "nfs4", "overlay", "ramfs", "smb3", "squashfs",
    "tmpfs",
];

/// What is kept between samples. What a system does not let us see stays out.
#[derive(Debug)]
pub struct Host {
    system: Option<System>,
    disks: Option<Disks>,
    networks: Option<Networks>,
    interfaces: PathBuf,
}

impl Host {
    pub fn new() -> Self {
        let mut system = System::new().ok();
        // A share of the processor is one between two looks: this is the first.
        if let Some(system) = &mut system {
            system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_usage());
        }
        let (disks, networks) = (Disks::new().ok(), Networks::new().ok());
        Self { system, disks, networks, interfaces: INTERFACES.into() }
    }

    pub fn sample(&mut self) -> HostSample {
        let mut sample = HostSample { uptime_s: System::uptime().unwrap_or(0), ..HostSample::default() };
        if let Some(system) = &mut self.system {
            system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_usage());
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            sample.cpu_percent = system.global_cpu_usage().clamp(0.0, 100.0);
            sample.memory_used_bytes = system.used_memory();
            sample.memory_total_bytes = system.total_memory();
        }
        if let Some(disks) = &mut self.disks {
            disks.refresh_specifics(true, DiskRefreshKind::nothing().with_storage());
            DiskBytes { used: sample.disk_used_bytes, total: sample.disk_total_bytes } =
                disk_bytes(disks.iter().map(Volume::of));
        }
        if let Some(networks) = &mut self.networks {
            networks.refresh(true);
            NetworkBytes { received: sample.network_received_bytes, sent: sample.network_sent_bytes } =
                network_bytes(&self.interfaces, networks.iter().map(Interface::of));
        }
        sample
    }
}

/// A mounted file system.
struct Volume {
    device: String,
    file_system: String,
    total: u64,
    free: u64,
}

impl Volume {
    fn of(disk: &sysinfo::Disk) -> Self {
        Self {
            device: disk.name().to_string_lossy().into_owned(),
            file_system: disk.file_system().to_string_lossy().into_owned(),
            total: disk.total_space(),
            free: disk.available_space(),
        }
    }

    fn is_disk(&self) -> bool {
        !NOT_DISKS.contains(&self.file_system.as_str()) && !self.file_system.starts_with("fuse")
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct DiskBytes {
    used: u64,
    total: u64,
}

/// Each device once, however often it is mounted. Within a container, whose root is a view of a disk
/// that it does not see, the largest view stands for it.
fn disk_bytes(volumes: impl Iterator<Item = Volume>) -> DiskBytes {
    let (disks, views): (Vec<_>, Vec<_>) = volumes.partition(Volume::is_disk);
    let disks = if disks.is_empty() {
        views.into_iter().max_by_key(|view| view.total).into_iter().collect()
    } else {
        disks
    };
    let by_device: BTreeMap<_, _> = disks.into_iter().map(|disk| (disk.device.clone(), disk)).collect();
    by_device.values().fold(DiskBytes::default(), |sum, disk| DiskBytes {
        used: sum.used.saturating_add(disk.total.saturating_sub(disk.free)),
        total: sum.total.saturating_add(disk.total),
    })
}

/// A network interface's counters.
struct Interface {
    name: String,
    received: u64,
    sent: u64,
}

impl Interface {
    fn of((name, data): (&OsString, &sysinfo::NetworkData)) -> Self {
        let name = name.to_string_lossy().into_owned();
        Self { name, received: data.total_received(), sent: data.total_transmitted() }
    }

    fn is_loopback(&self) -> bool {
        self.name.strip_prefix("lo").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct NetworkBytes {
    received: u64,
    sent: u64,
}

/// What went through real hardware: a bridge, a bond or a container's cable counts the same bytes
/// again. Where there is no hardware (within a container), everything but loopback.
fn network_bytes(root: &Path, interfaces: impl Iterator<Item = Interface>) -> NetworkBytes {
    let outward: Vec<_> = interfaces.filter(|interface| !interface.is_loopback()).collect();
    let is_hardware = |interface: &&Interface| root.join(&interface.name).join("device").exists();
    let some_hardware = outward.iter().any(|interface| is_hardware(&interface));
    let counted = outward.iter().filter(|interface| !some_hardware || is_hardware(interface));
    counted.fold(NetworkBytes::default(), |sum, interface| NetworkBytes {
        received: sum.received.saturating_add(interface.received),
        sent: sum.sent.saturating_add(interface.sent),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(device: &str, file_system: &str, total: u64, free: u64) -> Volume {
        Volume { device: device.into(), file_system: file_system.into(), total, free }
    }

    #[test]
    fn a_disk_that_is_mounted_twice_counts_once() {
        let volumes = [
            volume("/dev/sda1", "ext4", 100, 40),
            volume("/dev/sda1", "ext4", 100, 40),
            volume("/dev/sdb1", "xfs", 10, 10),
            volume("tmpfs", "tmpfs", 1000, 1000),
            volume("nas:/pool", "nfs4", 9000, 1),
        ];
        assert_eq!(disk_bytes(volumes.into_iter()), DiskBytes { used: 60, total: 110 });
    }

    #[test]
    fn within_a_container_the_view_of_the_disk_counts() {
        let volumes = [volume("overlay", "overlay", 100, 30), volume("tmpfs", "tmpfs", 60, 60)];
        assert_eq!(disk_bytes(volumes.into_iter()), DiskBytes { used: 70, total: 100 });
    }

    fn interface(name: &str, received: u64, sent: u64) -> Interface {
        Interface { name: name.into(), received, sent }
    }

    #[test]
    fn bytes_count_where_they_leave_the_host() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("eth0/device")).unwrap();
        let interfaces = || {
            let all = [("lo", 9, 9), ("eth0", 5, 3), ("docker0", 4, 2), ("veth12", 4, 2)];
            all.into_iter().map(|(name, received, sent)| interface(name, received, sent))
        };
        assert_eq!(network_bytes(root.path(), interfaces()), NetworkBytes { received: 5, sent: 3 });
        let nowhere = Path::new("/nonexistent");
        assert_eq!(network_bytes(nowhere, interfaces()), NetworkBytes { received: 13, sent: 7 });
    }
}
