//! A process gives up its rights for good: files and networks (landlock), system calls (seccomp, an
//! allow list), memory and descriptors (resource limits). Nothing can give them back.

#![expect(unsafe_code, reason = "the system calls of confinement have no safe wrapper")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus,
    Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Memory that an interpreter takes for itself beside what its program may use.
const OWN_BYTES: u64 = 48 << 20;
/// Descriptors: the three pipes, and the gauge.
const DESCRIPTORS: u64 = 4;

/// What interpreters, the allocator and the end of a process need, with any arguments. None opens,
/// connects, starts or finds anything.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// Reads how much memory the process has, and limits it.
pub(super) struct MemoryGauge {
    statistics: File,
    page_bytes: u64,
}

/// Gives up files, networks, the reach of signals and what the process inherited. Opens what will still
/// be read first.
pub(super) fn renounce_files() -> io::Result<MemoryGauge> {
    let statistics = File::open("/proc/self/statm")?;
    // SAFETY: asks for a constant of the system.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    close_others(&statistics)?;
    limit(libc::RLIMIT_CORE, 0)?;
    limit(libc::RLIMIT_FSIZE, 0)?;
    // SAFETY: plain numbers. Nobody but the system's administrator may look into this process.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    restrict().map_err(io::Error::other)?;
    limit(libc::RLIMIT_NOFILE, DESCRIPTORS)?;
    Ok(MemoryGauge { statistics, page_bytes })
}

/// Closes what was inherited beyond the standard streams.
fn close_others(kept: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let kept = kept.as_raw_fd() as libc::c_uint;
    for (first, last) in [(3, kept.saturating_sub(1)), (kept + 1, libc::c_uint::MAX)] {
        // SAFETY: nothing in this process uses a descriptor in these ranges.
        if first <= last && unsafe { libc::close_range(first, last, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// No file may be opened and no port reached. Files are required, the rest is as much as the kernel
/// knows: the filter of system calls stands behind it.
fn restrict() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (least, best) = (ABI::V1, ABI::V6);
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(least))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(best))?
        .handle_access(AccessNet::from_all(best))?
        .scope(Scope::from_all(best))?
        .create()?
        .restrict_self()?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err("landlock is not enforced".into()),
        _ => Ok(()),
    }
}

/// Gives up all system calls but the allowed ones, for all threads. A forbidden one ends the process.
pub(super) fn renounce_calls() -> Result<(), Box<dyn std::error::Error>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // With a first argument that keeps it within this process: its limits, where it is called 0; the
    // signal by which it aborts; the names that an allocator gives its memory.
    let own = u64::from(std::process::id());
    let names = libc::PR_SET_VMA as u64;
    let bound = [(libc::SYS_prlimit64, 0), (libc::SYS_tgkill, own), (libc::SYS_prctl, names)];
    for (call, first) in bound {
        let (length, equal) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
        let only = SeccompCondition::new(0, length, equal, first)?;
        rules.insert(call, vec![SeccompRule::new(vec![only])?]);
    }
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter_all_threads(&program)?)
}

/// Returns when whoever writes to standard input has gone.
pub(super) fn await_hangup() {
    let mut input = libc::pollfd { fd: libc::STDIN_FILENO, events: 0, revents: 0 };
    loop {
        // SAFETY: one descriptor, which lives.
        unsafe { libc::poll(&raw mut input, 1, -1) };
        if input.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0 {
            return;
        }
    }
}

impl MemoryGauge {
    /// From now on the process may take so much more memory. Where the present amount is not known, it
    /// may take this much in all.
    pub(super) fn limit(&self, bytes: usize) {
        let present = self.present().unwrap_or_default();
        self.soft_limit(present + bytes as u64 + OWN_BYTES);
    }

    /// The process may take what it needs, until the next limit.
    pub(super) fn release(&self) {
        self.soft_limit(libc::RLIM_INFINITY);
    }

    /// Bytes of private memory that may be written.
    fn present(&self) -> Option<u64> {
        let mut bytes = [0; 256];
        let length = self.statistics.read_at(&mut bytes, 0).ok()?;
        let text = std::str::from_utf8(&bytes[..length]).ok()?;
        let pages: u64 = text.split_whitespace().nth(5)?.parse().ok()?;
        Some(pages * self.page_bytes)
    }

    fn soft_limit(&self, bytes: u64) {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: a valid structure. A limit that cannot be set leaves the one before, and the
        // interpreter's own.
        unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) };
    }
}

fn limit(resource: libc::__rlimit_resource_t, most: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: a valid structure.
    match unsafe { libc::setrlimit(resource, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
