//! `--gpus N`: the same command once for each GPU, as torchrun would start it.

use crate::progress::interrupted;
use anyhow::{Context, Result};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

/// How many processes train together.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Gpus {
    /// Train on so many GPUs of this machine, one process each; torchrun and Slurm work too
    #[arg(long, default_value_t = 1)]
    gpus: usize,
}

impl Gpus {
    /// Starts this command again for each GPU and waits for all, unless one is enough or this process
    /// is one of several already; true if it did.
    ///
    /// # Errors
    /// Where a process cannot be started or fails; the others are ended then.
    pub fn launch(self) -> Result<bool> {
        if self.gpus <= 1 || std::env::var_os("WORLD_SIZE").is_some() {
            return Ok(false);
        }
        let found = cuda::Gpu::count();
        anyhow::ensure!(found >= self.gpus, "--gpus {}: the driver finds {found} GPUs", self.gpus);
        // Free now; another program that takes it in the next moment makes the processes fail to meet.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|free| free.local_addr())
            .context("no free port")?
            .port();
        let program = std::env::current_exe().context("cannot find this program again")?;
        let mut children = Vec::new();
        for rank in 0..self.gpus {
            let child = Command::new(&program)
                .args(std::env::args_os().skip(1))
                .env("RANK", rank.to_string())
                .env("LOCAL_RANK", rank.to_string())
                .env("WORLD_SIZE", self.gpus.to_string())
                .env("MASTER_ADDR", "127.0.0.1")
                .env("MASTER_PORT", port.to_string())
                .spawn();
            children.push(child.context("cannot start this program again")?);
        }
        wait(children)?;
        Ok(true)
    }
}

/// Waits for all; once one fails, the others, which wait for it, are ended.
fn wait(mut children: Vec<Child>) -> Result<()> {
    let mut open: Vec<usize> = (0..children.len()).collect();
    while !open.is_empty() {
        let mut failed: Option<(usize, ExitStatus)> = None;
        let mut still = Vec::new();
        for &rank in &open {
            match children[rank].try_wait()? {
                None => still.push(rank),
                // Ctrl-C reaches all of them, and each ends in its own time.
                Some(status) if status.success() || interrupted() => {}
                Some(status) => failed = Some((rank, status)),
            }
        }
        open = still;
        if let Some((rank, status)) = failed {
            for &rank in &open {
                let _ = children[rank].kill();
                let _ = children[rank].wait();
            }
            anyhow::bail!(
                "process {rank} of {} failed ({status}); what was saved last is intact",
                children.len()
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
