//! nginx in clear → TLS 1.3 with keep-alive → nginx → engine.

use std::{fs, process::Command, time::Duration};

use anyhow::Result;

use super::{Bed, GPU_HOST_NAME, NO_KEY, Path, Stack, delayed, executable, fill, text};
use crate::{child::Process, meter::Role, net::free_addresses};

const FRONT: &str = include_str!("nginx/front.conf");
const BACK: &str = include_str!("nginx/back.conf");
const BOTH: &str = include_str!("nginx/both.conf");

pub async fn start(bed: &Bed, one_way: Option<Duration>) -> Result<Stack> {
    let [public, gpu_host] = free_addresses()?;
    let mut stack = Stack::new(Path::Nginx, public, NO_KEY.to_owned());
    let engine = bed.engine_address.to_string();
    let back = run(bed, BACK, &gpu_host.to_string(), &engine)?;
    stack.processes.push((Role::Back, back));
    let (next, delay) = delayed(bed, gpu_host, one_way).await?;
    stack.processes.extend(delay.map(|process| (Role::Delay, process)));
    let front = run(bed, FRONT, &public.to_string(), &next.to_string())?;
    stack.processes.push((Role::Front, front));
    for (role, process) in &mut stack.processes {
        match role {
            Role::Front => process.accepts(public).await?,
            Role::Back => process.accepts(gpu_host).await?,
            _ => {}
        }
    }
    Ok(stack)
}

fn run(bed: &Bed, template: &str, listen: &str, next: &str) -> Result<Process> {
    let folder = bed.subfolder("nginx")?;
    let server = fill(
        template,
        &[
            ("LISTEN", listen),
            ("NEXT", next),
            ("NAME", GPU_HOST_NAME),
            ("CERT", text(&bed.certificate())?),
            ("KEY", text(&bed.private_key())?),
        ],
    )?;
    // SAFETY: geteuid has no conditions and cannot fail.
    let as_root = unsafe { libc::geteuid() } == 0;
    let user = if as_root { "user root;" } else { "" };
    let config = fill(BOTH, &[("FOLDER", text(&folder)?), ("USER", user), ("SERVER", &server)])?;
    let file = folder.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = Command::new(executable("nginx")?);
    command.arg("-p").arg(&folder).arg("-c").arg(&file).args(["-e", "stderr"]);
    Process::start("nginx", command, folder.join("log"))
}
