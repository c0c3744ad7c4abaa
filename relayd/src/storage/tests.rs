//! What is said of directories as they are found.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::config::{self, System};

/// A directory of this test's own, gone at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("relayd-storage-{name}-{}", std::process::id()));
        fs::remove_dir_all(&path).ok();
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn config(storage: &str) -> Config {
    let yaml = format!(
        "yaml:{{receivers: {{otlp: {{protocols: {{grpc: }}}}}}, extensions: {{file_storage/a: {{{storage}}}}}, \
         exporters: {{otlp: {{endpoint: 'up:4317', sending_queue: {{storage: file_storage/a}}}}, \
         otlp/2: {{endpoint: 'up:4317', sending_queue: {{storage: file_storage/a}}}}}}, \
         service: {{extensions: [file_storage/a], pipelines: {{traces: {{receivers: [otlp], exporters: [otlp, otlp/2]}}}}}}}}"
    );
    config::load(&[yaml], &[], &System).unwrap().0
}

/// Guarantee: a directory is made with its parents and the permissions that are asked for, and found again; nothing is written there.
#[test]
fn a_directory_is_made_if_that_is_asked_for() {
    let scratch = Scratch::new("made");
    let directory = scratch.0.join("deep/spool");
    let config = config(&format!(
        "directory: {}, create_directory: true, directory_permissions: '0710'",
        directory.display()
    ));
    for _ in 0..2 {
        assert_eq!(prepare(&config), Ok(()));
        let mode = fs::metadata(&directory).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o700, 0o700, "{mode:o}");
        assert_eq!(mode & !0o710, 0, "{mode:o}");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }
}

/// Guarantee: a directory that is missing, or cannot be made, is said once for all exporters that share it, with the way out, and not by
/// `validate`.
#[test]
fn what_is_missing_is_said() {
    let scratch = Scratch::new("missing");
    let missing = scratch.0.join("spool").display().to_string();
    let config_of =
        |directory: &str, create| config(&format!("directory: {directory}, create_directory: {create}"));
    let what = format!(
        "extensions.file_storage/a.directory: {missing} does not exist; make it, or set create_directory: true"
    );
    assert_eq!(prepare(&config_of(&missing, false)), Err(vec![what]));
    assert_eq!(crate::plan::check(&config_of(&missing, false)), Ok(()));
    // Nobody makes a directory there, root neither.
    let what = "extensions.file_storage/a.directory: /proc/relayd cannot be made: No such file or directory (os error 2); mount a \
                volume there, or give what is above it to relayd's user (chown)";
    assert_eq!(prepare(&config_of("/proc/relayd", true)), Err(vec![what.to_owned()]));
}

#[test]
fn the_line_at_the_start_says_what_is_promised() {
    let words = |storage: &str| in_words(config(storage).exporters[0].kind.spill().unwrap());
    assert_eq!(
        words("directory: /spool"),
        "what is not delivered within 100ms goes to /spool, at most 1024 MiB for each signal"
    );
    assert_eq!(
        words("directory: /spool, fsync: false, max_size: 0"),
        "what is not delivered within 100ms goes to /spool, without a bound; a power cut may take some of it (fsync: false)"
    );
}
