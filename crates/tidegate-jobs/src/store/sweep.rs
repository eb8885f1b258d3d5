//! Deleting what was trimmed or forgotten, and giving room back: a bounded piece a commit.

use rusqlite::{Connection, OptionalExtension};

use super::Reason;

/// Entries that a commit deletes at least, if there are so many to delete.
const ROWS: usize = 4_096;
/// Bytes of entries, in the same way.
const BYTES: usize = 4 << 20;
/// Free pages below which the file is left as it is: 4 MiB.
const FREE_PAGES: i64 = 1_024;
/// Pages that a commit gives back: 1 MiB.
const GIVEN_BACK: i64 = 256;

/// What a commit has added to logs.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Added {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// Deletes a piece that is at least twice what was added: so however much is forgotten, what is left to delete shrinks.
pub(super) fn sweep(db: &Connection, added: Added) -> Result<(), Reason> {
    let (mut rows, mut bytes) = (ROWS + 2 * added.rows, BYTES + 2 * added.bytes);
    while rows > 0 && bytes > 0 {
        let mut garbage = db.prepare_cached("SELECT job, through FROM garbage LIMIT 1")?;
        let next = garbage.query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        let Some((job, through)) = next.optional()? else { break };
        delete(db, job, through, &mut rows, &mut bytes)?;
    }
    give_back(db)
}

/// Deletes entries of one job, oldest first, while there are `rows` and `bytes` to spend.
fn delete(db: &Connection, job: i64, through: i64, rows: &mut usize, bytes: &mut usize) -> Result<(), Reason> {
    let mut sizes = db.prepare_cached("SELECT n, length(what) FROM entry WHERE job = ?1 AND n <= ?2 ORDER BY n")?;
    let mut found = sizes.query([job, through])?;
    let mut last = None;
    let is_all = loop {
        let Some(row) = found.next()? else { break true };
        if *rows == 0 || *bytes == 0 {
            break false;
        }
        last = Some(row.get::<_, i64>(0)?);
        *rows -= 1;
        *bytes = bytes.saturating_sub(row.get::<_, u32>(1)? as usize);
    };
    drop(found);
    if let Some(last) = last {
        db.prepare_cached("DELETE FROM entry WHERE job = ?1 AND n <= ?2")?.execute([job, last])?;
    }
    if is_all {
        db.prepare_cached("DELETE FROM garbage WHERE job = ?1")?.execute([job])?;
    }
    Ok(())
}

/// Where more than a quarter of the file is free, its end is moved into what is free, and cut off.
fn give_back(db: &Connection) -> Result<(), Reason> {
    let free: i64 = db.prepare_cached("PRAGMA freelist_count")?.query_row([], |row| row.get(0))?;
    if free < FREE_PAGES {
        return Ok(());
    }
    let all: i64 = db.prepare_cached("PRAGMA page_count")?.query_row([], |row| row.get(0))?;
    if free > all / 4 {
        let mut pages = db.prepare(&format!("PRAGMA incremental_vacuum({GIVEN_BACK})"))?;
        let mut given_back = pages.query([])?;
        // A page a step.
        while given_back.next()?.is_some() {}
    }
    Ok(())
}
