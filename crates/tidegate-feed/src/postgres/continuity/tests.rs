use proptest::prelude::*;

use super::*;

fn mark(lsn: u64) -> CommitMark {
    CommitMark { lsn: Lsn(lsn), xid: lsn as u32, commit_micros: lsn as i64 }
}

fn standing() -> Standing {
    Standing { system_id: 7, timeline: 1, through: "s p 1".into(), lsn: Lsn(100), last: Some(mark(80)) }
}

fn server() -> Server {
    Server { system_id: 7, timeline: 1, wal: Lsn(120), through: "s p 1".into(), confirmed: Some(Lsn(100)) }
}

#[test]
fn what_breaks_continuity_is_named() {
    let cases: Vec<(Server, Break)> = vec![
        (Server { system_id: 8, ..server() }, Break::OtherSystem),
        (Server { timeline: 2, ..server() }, Break::Timeline),
        (Server { through: "s p 2".into(), ..server() }, Break::Publication),
        (Server { confirmed: None, ..server() }, Break::SlotLost),
        (Server { confirmed: Some(Lsn(101)), ..server() }, Break::SlotAhead),
        (Server { wal: Lsn(99), ..server() }, Break::Forked),
    ];
    for (server, expected) in cases {
        assert_eq!(judge(Some(&standing()), &server).unwrap_err(), expected);
    }
    assert_eq!(judge(None, &server()).unwrap_err(), Break::New);
    assert!(judge(Some(&standing()), &server()).is_ok());
}

#[test]
fn the_last_transaction_must_come_again_if_it_was_not_confirmed() {
    let mut again = judge(Some(&standing()), &Server { confirmed: Some(Lsn(40)), ..server() }).unwrap();
    assert_eq!(again.admit(mark(60)), Ok(Admission::Skip));
    assert!(again.clone().admit(mark(90)).is_err(), "unknown, and past the last");
    assert!(again.clone().admit(CommitMark { xid: 1, ..mark(80) }).is_err(), "another one in its place");
    assert!(again.reached(Lsn(99)).is_ok());
    assert!(again.reached(Lsn(100)).is_err(), "the server has nothing more to send");
    assert_eq!(again.admit(mark(80)), Ok(Admission::Skip));
    assert!(again.reached(Lsn(200)).is_ok());
    assert!(again.clone().admit(mark(90)).is_err(), "the mirror has nothing there");
    assert_eq!(again.admit(mark(100)), Ok(Admission::Apply));
}

/// A history as the commits' places; another may share a beginning with it.
fn history() -> impl Strategy<Value = Vec<CommitMark>> {
    proptest::collection::vec((1u64..10, any::<u32>()), 1..12).prop_map(|steps| {
        let mut at = 0;
        let step = |(gap, xid)| {
            at += gap;
            CommitMark { lsn: Lsn(at), xid, commit_micros: 0 }
        };
        steps.into_iter().map(step).collect()
    })
}

proptest! {
    /// Whatever the server confirmed, on the same history every transaction is applied exactly once; on another one the
    /// fork is seen before anything of it is applied.
    #[test]
    fn the_same_history_goes_on_and_another_is_seen(
        ours in history(), other in history(), applied in 1usize..12, confirmed in 0usize..12, shared in 0usize..12, idle in 0u64..5,
    ) {
        let applied = applied.min(ours.len());
        let shared = shared.min(applied - 1);
        let last = Some(ours[applied - 1]);
        // The end of a commit record is past its beginning, and never past the beginning of the next.
        let end = |mark: CommitMark| mark.lsn.0 + 1;
        let next = ours.get(applied).map_or(u64::MAX, |mark| mark.lsn.0);
        let upto = Lsn((last.map_or(0, end) + idle).min(next));
        let standing = Standing { system_id: 7, timeline: 1, through: String::new(), lsn: upto, last };
        // What was confirmed was so before the histories parted.
        let confirmed = Lsn(ours[..confirmed.min(shared)].last().map_or(0, |mark| end(*mark)));
        let say = |history: &[CommitMark]| Server {
            system_id: 7, timeline: 1, through: String::new(), confirmed: Some(confirmed),
            wal: Lsn(history.last().map_or(0, |mark| end(*mark)).max(upto.0)),
        };
        let mut again = judge(Some(&standing), &say(&ours)).unwrap();
        for (at, mark) in ours.iter().enumerate().filter(|(_, mark)| mark.lsn >= confirmed) {
            let expected = if at < applied { Admission::Skip } else { Admission::Apply };
            prop_assert_eq!(again.admit(*mark), Ok(expected));
        }
        prop_assert!(again.reached(Lsn(u64::MAX)).is_ok());

        let base = ours[..shared].last().map_or(0, |mark| end(*mark));
        let forked: Vec<CommitMark> = ours[..shared].iter().copied()
            .chain(other.iter().map(|mark| CommitMark { lsn: Lsn(mark.lsn.0 + base), commit_micros: 1, ..*mark }))
            .collect();
        let mut again = judge(Some(&standing), &say(&forked)).unwrap();
        let mut seen = false;
        for mark in forked.iter().filter(|mark| mark.lsn >= confirmed) {
            match again.admit(*mark) {
                Ok(Admission::Skip) => {}
                Ok(Admission::Apply) => prop_assert!(false, "applied {mark:?} of another history"),
                Err(_) => { seen = true; break; }
            }
        }
        prop_assert!(seen || again.reached(Lsn(u64::MAX)).is_err());
    }
}
