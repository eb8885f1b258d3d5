//! The scans of one worker: those under way and those that wait for their turn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tidegate_model::{Page, RowSource, ScanError, ScanRequest};

use crate::engine::Engine;
use crate::unready::{Scan, Unready};

/// How long a store that had no room is left alone.
pub(crate) const RETRY: Duration = Duration::from_millis(50);

pub(crate) type PageAnswer = (u64, Result<Page, ScanError>);

/// The way back for the answer to one scan. Dropped unused, by a store that broke down or stops, it answers too: a view
/// never waits in vain.
struct Answer(Option<(u64, Sender<PageAnswer>)>);

impl Answer {
    fn give(&mut self, page: Result<Page, ScanError>) {
        if let Some((ticket, pages)) = self.0.take() {
            // There is room: no more scans are under way than the channel holds. It fails only when the worker is gone.
            let _ = pages.send((ticket, page));
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.give(Err(ScanError::Store("a scan was given up".to_owned())));
    }
}

pub(crate) struct Scans {
    rows: Arc<dyn RowSource>,
    pages: Sender<PageAnswer>,
    under_way_max: usize,
    under_way: Vec<Scan>,
    /// Bounded by the number of views: each has one scan at most, and those of views that are gone are taken out.
    waiting: VecDeque<Scan>,
    unready: Unready,
    /// When a store that had no room is asked again.
    retry_at: Option<Instant>,
}

impl Scans {
    /// `pages` must have room for `under_way_max` answers.
    pub(crate) fn new(rows: Arc<dyn RowSource>, pages: Sender<PageAnswer>, under_way_max: usize) -> Self {
        let (under_way, waiting, unready) = (Vec::new(), VecDeque::new(), Unready::default());
        Self { rows, pages, under_way_max, under_way, waiting, unready, retry_at: None }
    }

    pub(crate) fn push(&mut self, ticket: u64, request: Box<ScanRequest>) {
        self.waiting.push_back((ticket, request));
    }

    /// Whether a store that had no room, or an entity that was not ready, is to be asked again.
    pub(crate) fn is_retrying(&self) -> bool {
        self.retry_at.is_some() || !self.unready.is_empty()
    }

    /// What the engine is to be told of an answer: nothing if the store had no room or the entity was not ready, for
    /// then it is asked again.
    pub(crate) fn answered(&mut self, ticket: u64, page: Result<Page, ScanError>) -> Option<Result<Page, ScanError>> {
        let at = self.under_way.iter().position(|(other, _)| *other == ticket);
        let scan = at.map(|at| self.under_way.swap_remove(at));
        match (page, scan) {
            (Err(ScanError::Busy), Some(scan)) => {
                let now = Instant::now();
                if let Some(scan) = self.unready.take_back(scan, now) {
                    self.waiting.push_front(scan);
                }
                self.retry_at = Some(now + RETRY);
                None
            }
            (Err(ScanError::NotReady), Some(scan)) => {
                self.unready.refused(scan, Instant::now());
                None
            }
            (page, scan) => {
                if let Some((_, request)) = scan {
                    self.waiting.extend(self.unready.release(request.entity));
                }
                Some(page)
            }
        }
    }

    /// Starts as many as may be under way.
    pub(crate) fn start(&mut self, engine: &Engine) {
        if self.waiting.len() > 2 * engine.scans() + 64 {
            self.waiting.retain(|(ticket, _)| engine.awaits(*ticket));
        }
        self.unready.sweep(engine.scans(), |ticket| engine.awaits(ticket));
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.retry_at = None;
        while self.under_way.len() < self.under_way_max
            && let Some((ticket, request)) = self.next(engine)
        {
            self.under_way.push((ticket, request.clone()));
            let mut answer = Answer(Some((ticket, self.pages.clone())));
            self.rows.scan(*request, Box::new(move |page| answer.give(page)));
        }
    }

    fn next(&mut self, engine: &Engine) -> Option<Scan> {
        if !self.unready.is_empty()
            && let Some(scan) = self.unready.due(Instant::now(), |ticket| engine.awaits(ticket))
        {
            return Some(scan);
        }
        while let Some(scan) = self.waiting.pop_front() {
            if engine.awaits(scan.0)
                && let Some(scan) = self.unready.hold(scan)
            {
                return Some(scan);
            }
        }
        None
    }
}
