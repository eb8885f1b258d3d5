//! The server and the role.

use super::Problem;
use crate::postgres::inspect::{Server, SlotInfo};
use crate::postgres::quote;
use crate::postgres::resolve::fatal;

pub(super) fn check(server: &Server, slot: Option<&SlotInfo>, slot_name: &str, problems: &mut Vec<Problem>) {
    check_version(server, problems);
    if server.wal_level != "logical" {
        let what = format!("wal_level is {}; logical replication needs `logical`", server.wal_level);
        problems.push(fatal(what, "ALTER SYSTEM SET wal_level = 'logical'; -- then restart the server".to_owned()));
    }
    if slot.is_none() && server.used_replication_slots >= server.max_replication_slots {
        let what =
            format!("all {} replication slots are taken, and {slot_name:?} needs one", server.max_replication_slots);
        problems.push(fatal(what, more("max_replication_slots", server.used_replication_slots)));
    }
    if !slot.is_some_and(|slot| slot.active) && server.used_wal_senders >= server.max_wal_senders {
        let what = format!("all {} WAL senders are in use, and the stream needs one", server.max_wal_senders);
        problems.push(fatal(what, more("max_wal_senders", server.used_wal_senders)));
    }
    if !server.may_replicate {
        let what = format!("the role {} may not replicate", server.role);
        problems.push(fatal(what, format!("ALTER ROLE {} REPLICATION;", quote::identifier(&server.role))));
    }
    if server.encoding == "SQL_ASCII" {
        let what = format!(
            "the database {} has the encoding SQL_ASCII: text that is not UTF-8 makes its table unavailable",
            server.database
        );
        let mend = "create the database with ENCODING 'UTF8' and restore a dump into it".to_owned();
        problems.push(Problem { what, mend, fatal: false });
    }
}

fn check_version(server: &Server, problems: &mut Vec<Problem>) {
    let major = server.version_num / 10_000;
    if major < 14 {
        problems.push(fatal(
            format!("the server is PostgreSQL {major}"),
            "upgrade it to PostgreSQL 14 or later".to_owned(),
        ));
    }
    if server.in_recovery {
        let mend = "name the primary in `url` under [source]".to_owned();
        if major < 16 {
            let what = format!("the server is a standby, where PostgreSQL {major} has no logical slots (16 has)");
            problems.push(fatal(what, mend));
        } else {
            let what = "the server is a standby: barriers and the publication are made on its primary".to_owned();
            problems.push(Problem { what, mend, fatal: false });
        }
    }
}

/// Some more than are in use.
fn more(setting: &str, used: i32) -> String {
    format!("ALTER SYSTEM SET {setting} = {}; -- then restart the server", used.saturating_add(10).max(10))
}
