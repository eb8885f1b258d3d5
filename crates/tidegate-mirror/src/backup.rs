//! A copy of the store while it is in use, also from another process.

use std::fs::{self, File};
use std::path::Path;

use rusqlite::Connection;
use rusqlite::backup::Backup;
use tidegate_model::Position;

use crate::{MirrorError, store};

/// Copies the store in `data_dir` to the new file `target`, as of one position, and returns that. It takes no lock, so
/// it works beside a running Tidegate; what is written meanwhile is not in it. To restore, put the file into an empty
/// data directory as `tidegate.db`.
///
/// # Errors
/// [`MirrorError::BackupExists`] if there is such a file; else why the copy failed, and then nothing is left of it.
pub fn backup(data_dir: &Path, target: &Path) -> Result<Position, MirrorError> {
    let io = |source| MirrorError::Io { path: target.to_owned(), source };
    // Taking the name first decides between two backups to one file.
    match File::create_new(target) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(MirrorError::BackupExists(target.to_owned()));
        }
        created => drop(created.map_err(io)?),
    }
    let copied = copy(data_dir, target).and_then(|position| {
        File::open(target).and_then(|file| file.sync_all()).map_err(io)?;
        Ok(position)
    });
    if copied.is_err() {
        // The error says why; a rest of the copy would only mislead.
        let _ = fs::remove_file(target);
    }
    copied
}

fn copy(data_dir: &Path, target: &Path) -> Result<Position, MirrorError> {
    let from = store::open_reader(data_dir)?;
    let mut to = Connection::open(target)?;
    // All pages in one step: one snapshot, which writes going on beside it do not restart.
    Backup::new(&from, &mut to)?.step(-1)?;
    // One file that needs no other beside it.
    to.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    store::position(&to)
}
