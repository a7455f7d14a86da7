//! haproxy in clear → HTTP/2 over TLS 1.3 → haproxy → engine.

use std::{fs, process::Command, time::Duration};

use anyhow::Result;

use super::{Bed, GPU_HOST_NAME, NO_KEY, Path, Stack, delayed, executable, fill, text};
use crate::{child::Process, meter::Role, net::free_addresses};

const BOTH: &str = include_str!("haproxy/both.cfg");

pub async fn start(bed: &Bed, one_way: Option<Duration>) -> Result<Stack> {
    let [public, gpu_host] = free_addresses()?;
    let mut stack = Stack::new(Path::Haproxy, public, NO_KEY.to_owned());
    let (both, cert) = (bed.certificate_with_key(), bed.certificate());
    let tls = format!("{gpu_host} backlog 4096 ssl crt {} alpn h2 ssl-min-ver TLSv1.3", text(&both)?);
    let mut back = run(bed, &tls, &bed.engine_address.to_string())?;
    back.accepts(gpu_host).await?;
    stack.processes.push((Role::Back, back));
    let (next, delay) = delayed(bed, gpu_host, one_way).await?;
    stack.processes.extend(delay.map(|process| (Role::Delay, process)));
    let tls = format!(
        "{next} ssl verify required ca-file {} sni str({GPU_HOST_NAME}) alpn h2 ssl-min-ver TLSv1.3",
        text(&cert)?
    );
    let mut front = run(bed, &format!("{public} backlog 4096"), &tls)?;
    front.accepts(public).await?;
    stack.processes.push((Role::Front, front));
    Ok(stack)
}

fn run(bed: &Bed, bind: &str, server: &str) -> Result<Process> {
    let folder = bed.subfolder("haproxy")?;
    let file = folder.join("haproxy.cfg");
    fs::write(&file, fill(BOTH, &[("BIND", bind), ("SERVER", server)])?)?;
    let mut command = Command::new(executable("haproxy")?);
    command.arg("-db").arg("-f").arg(&file);
    Process::start("haproxy", command, folder.join("log"))
}
