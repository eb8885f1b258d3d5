//! Random writes, against a model that keeps everything in maps.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const JOBS: u64 = 4;
const SESSIONS: u64 = 3;

#[derive(Debug, Clone)]
enum Step {
    /// A new job, unless there is one of that name.
    Job(u64),
    /// That many entries, of that size.
    Entries(u64, u64, usize),
    End(u64),
    Keep(u64, u64),
    /// So many of what there is, and more.
    Trim(u64, u64),
    Forget(u64),
    Issue(u64),
    Revoke(u64),
    Session(u64, u8),
    /// The next number of a session, and so many after it that need no segment.
    Segment(u64, u64, u64),
    Floor(u64, u64),
    SessionEnded(u64),
    /// What was written since the last commit is committed.
    Commit,
    /// It fails.
    Fail,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let job = || 0..JOBS;
    let session = || 0..SESSIONS;
    prop_oneof![
        3 => job().prop_map(Step::Job),
        6 => (job(), 1..40_u64, prop_oneof![4 => 0..300_usize, 1 => 3_000..20_000_usize])
            .prop_map(|(i, count, bytes)| Step::Entries(i, count, bytes)),
        1 => job().prop_map(Step::End),
        2 => (job(), 0..99_u64).prop_map(|(i, said)| Step::Keep(i, said)),
        3 => (job(), 0..60_u64).prop_map(|(i, count)| Step::Trim(i, count)),
        1 => job().prop_map(Step::Forget),
        1 => (0..6_u64).prop_map(Step::Issue),
        1 => (0..6_u64).prop_map(Step::Revoke),
        2 => (session(), any::<u8>()).prop_map(|(i, token)| Step::Session(i, token)),
        3 => (session(), job(), 0..9_u64).prop_map(|(i, job, more)| Step::Segment(i, job, more)),
        2 => (session(), 0..40_u64).prop_map(|(i, seq)| Step::Floor(i, seq)),
        1 => session().prop_map(Step::SessionEnded),
        5 => Just(Step::Commit),
        1 => Just(Step::Fail),
        2 => Just(Step::Reopen),
    ]
}

#[derive(Debug, Clone, Default)]
struct Job {
    /// When it began, among others.
    place: u64,
    said: u64,
    first: u64,
    entries: BTreeMap<u64, Arc<Entry>>,
    is_ended: bool,
}

impl Job {
    fn next(&self) -> u64 {
        self.entries.keys().last().map_or(self.first, |last| last + 1)
    }
}

#[derive(Debug, Clone)]
struct Session {
    place: u64,
    record: SessionRecord,
    floor: u64,
    head: u64,
    segments: BTreeMap<u64, (JobId, u64)>,
}

#[derive(Debug, Clone, Default)]
struct Model {
    places: u64,
    jobs: BTreeMap<u64, Job>,
    sessions: BTreeMap<u64, Session>,
    credentials: BTreeMap<CredentialId, JobId>,
}

impl Model {
    fn place(&mut self) -> u64 {
        self.places += 1;
        self.places
    }

    /// What is to be written for it; nothing if it makes no sense now.
    fn step(&mut self, step: &Step) -> Vec<Write> {
        match *step {
            Step::Job(i) if !self.jobs.contains_key(&i) => {
                let job = Job { place: self.place(), first: 1, ..Job::default() };
                self.jobs.insert(i, job);
                vec![Write::Job(record(i))]
            }
            Step::Entries(i, count, bytes) => {
                self.live(i).map_or(vec![], |job| (0..count).map(|_| add(job, event(i, job.next(), bytes))).collect())
            }
            Step::End(i) => self.live(i).map_or(vec![], |job| {
                let entry = end(i, job.next(), "{\"a\":null}");
                job.is_ended = true;
                vec![add(job, entry)]
            }),
            Step::Keep(i, said) => self.jobs.get_mut(&i).map_or(vec![], |job| {
                job.said = said;
                vec![Write::Keep { job: job_id(i), kept: Arc::new(Kept { said, ..Kept::default() }) }]
            }),
            Step::Trim(i, count) => {
                let through = self.jobs.get_mut(&i).map_or(count, |job| {
                    let through = job.first + count - 1;
                    let end = job.next() - u64::from(job.is_ended);
                    job.first = job.first.max(end.min(through + 1));
                    job.entries = job.entries.split_off(&job.first);
                    through
                });
                vec![Write::Trim { job: job_id(i), through }]
            }
            Step::Forget(i) => {
                self.jobs.remove(&i);
                vec![Write::Forget(job_id(i))]
            }
            Step::Issue(i) => {
                let (job, id) = (job_id(i), CredentialId::new(i, i.into()));
                self.credentials.insert(id, job);
                vec![Write::CredentialIssued { job, id }]
            }
            Step::Revoke(i) => {
                self.credentials.remove(&CredentialId::new(i, i.into()));
                vec![Write::CredentialRevoked(CredentialId::new(i, i.into()))]
            }
            Step::Session(i, token) => vec![Write::Session(self.session(i, token))],
            Step::Segment(i, job, more) => self.sessions.get_mut(&i).map_or(vec![], |session| {
                let (seq, n) = (session.head + 1, session.head * 7);
                session.segments.insert(seq, (job_id(job), n));
                session.head = seq + more;
                vec![Write::Segment { session: session_id(i), seq, job: job_id(job), n }]
            }),
            Step::Floor(i, seq) => self.sessions.get_mut(&i).map_or(vec![], |session| {
                session.floor = session.floor.max(seq);
                // What the next number is in stays, and what is behind it.
                let kept = session.segments.range(..=seq + 1).next_back().map_or(0, |(seq, _)| *seq);
                session.segments = session.segments.split_off(&kept);
                vec![Write::Floor { session: session_id(i), seq }]
            }),
            Step::SessionEnded(i) => {
                self.sessions.remove(&i);
                vec![Write::SessionEnded(session_id(i))]
            }
            Step::Job(_) | Step::Commit | Step::Fail | Step::Reopen => vec![],
        }
    }

    fn live(&mut self, i: u64) -> Option<&mut Job> {
        self.jobs.get_mut(&i).filter(|job| !job.is_ended)
    }

    fn session(&mut self, i: u64, token: u8) -> SessionRecord {
        let place = self.place();
        let fresh =
            SessionRecord { id: session_id(i), owner: owner(), token: [token; 32], previous: None, created_ms: place };
        let made = Session { place, record: fresh, floor: 0, head: 0, segments: BTreeMap::new() };
        let session = self.sessions.entry(i).or_insert(made);
        if session.record.token != [token; 32] {
            session.record.previous = Some(session.record.token);
            session.record.token = [token; 32];
        }
        session.record.clone()
    }

    fn check(&self, stored: &Stored) {
        let mut jobs: Vec<_> = self.jobs.iter().collect();
        jobs.sort_by_key(|(_, job)| job.place);
        assert_eq!(stored.jobs.len(), jobs.len());
        for (stored, (i, job)) in stored.jobs.iter().zip(jobs) {
            assert_eq!(stored.record.accepted.job, job_id(*i));
            assert_eq!((stored.kept.said, stored.log.first(), stored.log.next()), (job.said, job.first, job.next()));
            assert!(stored.log.sizes().eq(job.entries.values().map(|entry| entry.bytes() as u32)));
            let ending = job.entries.values().last().filter(|_| job.is_ended);
            assert_eq!(stored.ending.as_deref().map(shown), ending.map(|entry| shown(entry)));
        }
        let mut sessions: Vec<_> = self.sessions.values().collect();
        sessions.sort_by_key(|session| session.place);
        assert_eq!(stored.sessions.len(), sessions.len());
        for (stored, session) in stored.sessions.iter().zip(sessions) {
            assert_eq!((&stored.record, stored.floor), (&session.record, session.floor));
            let segments = stored.segments.iter().map(|segment| (segment.seq, (segment.job, segment.n)));
            assert!(segments.eq(session.segments.iter().map(|(seq, of)| (*seq, *of))), "{stored:?} {session:?}");
        }
        let credentials = stored.credentials.iter().map(|(job, id)| (*id, *job)).collect::<BTreeMap<_, _>>();
        assert_eq!(credentials, self.credentials);
    }

    /// All logs, in pages.
    fn check_logs(&self, reader: &mut Reader) {
        for i in 0..JOBS {
            let mut expected = self.jobs.get(&i).map(|job| job.entries.values().cloned()).into_iter().flatten();
            let mut from = 0;
            loop {
                let page = reader.entries(job_id(i), from, u64::MAX, 5_000).unwrap();
                let Some(last) = page.last() else { break };
                from = last.n + 1;
                assert!(page.len() == 1 || page.iter().map(Entry::bytes).sum::<usize>() <= 5_000);
                assert!(page.iter().all(|entry| expected.next().is_some_and(|other| shown(&other) == shown(entry))));
            }
            assert!(expected.next().is_none());
        }
    }
}

fn add(job: &mut Job, entry: Arc<Entry>) -> Write {
    job.entries.insert(entry.n, entry.clone());
    Write::Entry(entry)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_is_there_is_what_was_committed(steps in prop::collection::vec(step(), 1..120)) {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = open(&dir);
        let mut reader = store.reader().unwrap();
        let (mut committed, mut now, mut writes) = (Model::default(), Model::default(), Vec::new());
        for step in &steps {
            writes.append(&mut now.step(step));
            match step {
                Step::Commit => {
                    store.commit(&writes).unwrap();
                    writes.clear();
                    committed = now.clone();
                    committed.check_logs(&mut reader);
                }
                Step::Fail => {
                    // The last of it is refused, so nothing is there; and then it is tried without that.
                    writes.push(Write::Entry(event(JOBS, 1, 0)));
                    store.commit(&writes).unwrap_err();
                    writes.pop();
                    committed.check_logs(&mut reader);
                }
                Step::Reopen => {
                    // What was not committed is lost.
                    (now, writes) = (committed.clone(), Vec::new());
                    drop((store, reader));
                    let stored;
                    (store, stored) = open(&dir);
                    reader = store.reader().unwrap();
                    committed.check(&stored);
                    committed.check_logs(&mut reader);
                }
                _ => {}
            }
        }
    }
}
