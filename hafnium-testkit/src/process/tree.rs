//! A process and all its descendants.
//!
//! "The node" is a tree, not a process group: every Postgres backend is its own session and group, so a signal to the
//! group reaches the postmaster alone.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::state::{ProcessId, ProcessState};

/// The process and its descendants, parents first. Empty when it is gone.
pub fn tree_of(root: ProcessId) -> Vec<ProcessId> {
    let mut tree = Vec::new();
    if root.state() == ProcessState::Gone {
        return tree;
    }
    tree.push(root);
    let mut next = 0;
    while let Some(parent) = tree.get(next).copied() {
        tree.extend(children_of(parent.pid));
        next += 1;
    }
    tree
}

/// A child belongs to the thread that forked it, so every thread is asked.
fn children_of(pid: u32) -> Vec<ProcessId> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|n| n.parse().ok())
                .collect::<Vec<u32>>()
        })
        .filter_map(ProcessId::of)
        .collect()
}

/// Stops the tree, root first so that nothing new is forked, and again until no new member appears.
pub(crate) fn stop_tree(root: ProcessId) -> Vec<ProcessId> {
    let mut stopped: Vec<ProcessId> = Vec::new();
    loop {
        let new: Vec<_> = tree_of(root)
            .into_iter()
            .filter(|p| !stopped.contains(p))
            .collect();
        if new.is_empty() {
            return stopped;
        }
        for process in &new {
            process.signal(Signal::STOP);
        }
        // The list of children is complete only once the parent cannot fork any more.
        await_states(&new, |state| state != ProcessState::Alive, Duration::from_secs(2));
        stopped.extend(new);
    }
}

/// Whether every process came to a state that `wanted` accepts within `limit`. Blocks; states change in microseconds.
pub(crate) fn await_states(
    processes: &[ProcessId],
    wanted: impl Fn(ProcessState) -> bool,
    limit: Duration,
) -> bool {
    let end = Instant::now() + limit;
    loop {
        if processes.iter().all(|p| wanted(p.state())) {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}
