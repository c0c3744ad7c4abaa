//! Whether the directory for the logs can be used at all. Must never write: with a healthy upstream nothing is.

use std::io;
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::io::Errno;

/// Fails where nothing can ever be stored: no directory, or one that this user may not write to. What is in it is no reason to fail.
///
/// # Errors
/// Names the directory and the way out.
pub(super) fn usable(directory: &Path) -> io::Result<()> {
    let shown = directory.display();
    let about = std::fs::metadata(directory).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(
            error.kind(),
            format!("directory {shown} does not exist: create it, or mount it into the container"),
        ),
        kind => io::Error::new(kind, format!("directory {shown} cannot be looked at: {error}")),
    })?;
    if !about.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            format!("{shown} is not a directory: name one that is"),
        ));
    }
    match access(directory, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        // The kernel remounts a disk so that fails, and somebody may remount it again: that is a fault, not a mistake of the configuration.
        Ok(()) | Err(Errno::ROFS) => Ok(()),
        Err(error) => Err(io::Error::new(
            io::Error::from(error).kind(),
            format!(
                "directory {shown} cannot be written to by this user ({error}): change its owner or its mode"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::io::spill::tests::Scratch;

    #[test]
    fn what_will_never_work_is_an_error_that_names_it() {
        let scratch = Scratch::new("usable");
        assert!(usable(scratch.path()).is_ok());
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing was written");
        let missing = scratch.path().join("missing");
        let error = usable(&missing).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
        let file = scratch.path().join("file");
        std::fs::write(&file, b"x").unwrap();
        assert!(usable(&file).unwrap_err().to_string().ends_with("is not a directory: name one that is"));
        let locked = scratch.path().join("locked");
        std::fs::create_dir(&locked).unwrap();
        std::fs::set_permissions(&locked, Permissions::from_mode(0o555)).unwrap();
        // Root may write everywhere.
        match std::fs::write(locked.join("probe"), b"x") {
            Ok(()) => assert!(usable(&locked).is_ok()),
            Err(_) => assert!(usable(&locked).unwrap_err().to_string().contains("change its owner")),
        }
    }
}
