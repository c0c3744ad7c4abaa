//! How much memory the process may use: the smallest limit of its control groups (version 2 or 1), else what the
//! machine has. Must never be asked again after the start: a percentage is turned into bytes once.

use super::source::World;

/// Version 1 says "no limit" with a number near 2^63; nothing has that much.
const UNLIMITED_BYTES: u64 = 1 << 60;

/// Bytes; `None` if neither control groups nor `/proc/meminfo` say anything.
pub(super) fn total_bytes(world: &dyn World) -> Option<u64> {
    let groups = world.read_file("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().flat_map(|line| group_limits(line, world));
    // Inside a container the path in /proc/self/cgroup may be the host's, while the mount shows the own group on top.
    let top = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    limits.chain(top.iter().filter_map(|file| limit(file, world))).chain(machine(world)).min()
}

/// The limits of one line `id:controllers:path` and of the groups above it (cgroups(7)).
fn group_limits(line: &str, world: &dyn World) -> Vec<u64> {
    let mut fields = line.splitn(3, ':');
    let (Some(id), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
        return Vec::new();
    };
    let (root, file) = if id == "0" && controllers.is_empty() {
        ("/sys/fs/cgroup", "memory.max")
    } else if controllers.split(',').any(|controller| controller == "memory") {
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
    } else {
        return Vec::new();
    };
    let mut limits = Vec::new();
    let mut group = path.trim_matches('/');
    while !group.is_empty() {
        limits.extend(limit(&format!("{root}/{group}/{file}"), world));
        group = group.rsplit_once('/').map_or("", |(above, _)| above);
    }
    limits
}

/// A limit file: a number of bytes, or `max`.
fn limit(file: &str, world: &dyn World) -> Option<u64> {
    let bytes = world.read_file(file).ok()?.trim().parse::<u64>().ok()?;
    (bytes < UNLIMITED_BYTES).then_some(bytes)
}

fn machine(world: &dyn World) -> Option<u64> {
    let text = world.read_file("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    Some(kib.saturating_mul(1024))
}
