//! What the operating system says that this process uses (proc(5)). Must never be asked but when somebody wants to know.

/// What cannot be found out is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu_seconds: Option<f64>,
    /// Resident memory, in bytes.
    pub(crate) resident_bytes: Option<u64>,
}

/// Times in `/proc/self/stat` count in this (`USER_HZ`, the same on all Linux ports that relayd runs on).
const TICKS_PER_SECOND: u32 = 100;

/// What this process uses.
pub(crate) fn usage() -> Usage {
    let read = |file| std::fs::read_to_string(file).ok();
    Usage {
        cpu_seconds: read("/proc/self/stat").and_then(|stat| cpu_seconds(&stat)),
        resident_bytes: read("/proc/self/status").and_then(|status| resident_bytes(&status)),
    }
}

/// Fields 14 and 15, `utime` and `stime`; the name in field 2 may hold anything, so counting begins behind it.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((f64::from(user) + f64::from(system)) / f64::from(TICKS_PER_SECOND))
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_proc_says() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 1 1 1";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(resident_bytes("VmPeak:\t 9 kB\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!((cpu_seconds("x"), resident_bytes("")), (None, None));
        assert!(usage().cpu_seconds.is_some() && usage().resident_bytes.is_some());
    }
}
