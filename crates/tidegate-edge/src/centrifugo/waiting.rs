//! Answers that are yet to come, and the commands behind them.
//!
//! What concerns one channel is done in the order in which it was asked: while an answer about it is awaited, commands
//! about it are kept.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use tidegate_session::Session;

use super::protocol::Centrifugo;
use super::wire::Request;

/// Answers and commands that wait at once.
const WAITING_MAX: usize = 128;

/// What is done once an answer has come.
pub(super) type Then = Box<dyn FnOnce(&mut Centrifugo, &mut Session)>;

/// What waits.
enum Wait {
    Answer(Pin<Box<dyn Future<Output = Then>>>),
    Command(u32, Box<Request>),
}

/// What can go on.
pub(super) enum Ready {
    Answer(Then),
    Command(u32, Box<Request>),
}

/// What waits, each with the channel that it concerns, if it is one's.
#[derive(Default)]
pub(super) struct Waiting(VecDeque<(Option<Box<str>>, Wait)>);

impl Waiting {
    /// Whether something about the channel waits.
    pub(super) fn has(&self, channel: &str) -> bool {
        self.0.iter().any(|(other, _)| other.as_deref() == Some(channel))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= WAITING_MAX
    }

    /// An answer is awaited. Whoever awaits it is the first of its channel.
    pub(super) fn answer(&mut self, channel: Option<&str>, answer: impl Future<Output = Then> + 'static) {
        self.0.push_front((channel.map(Into::into), Wait::Answer(Box::pin(answer))));
    }

    /// A command is kept behind what waits about its channel.
    pub(super) fn command(&mut self, channel: &str, id: u32, request: Box<Request>) {
        self.0.push_back((Some(channel.into()), Wait::Command(id, request)));
    }

    /// Takes out the first that can go on.
    pub(super) fn ready(&mut self, cx: &mut Context<'_>) -> Option<Ready> {
        for at in 0..self.0.len() {
            let channel = self.0[at].0.as_deref();
            if channel.is_some() && self.0.range(..at).any(|(other, _)| other.as_deref() == channel) {
                continue;
            }
            match &mut self.0[at].1 {
                Wait::Answer(answer) => {
                    if let Poll::Ready(then) = answer.as_mut().poll(cx) {
                        self.0.remove(at);
                        return Some(Ready::Answer(then));
                    }
                }
                Wait::Command(..) => {
                    let Some((_, Wait::Command(id, request))) = self.0.remove(at) else { return None };
                    return Some(Ready::Command(id, request));
                }
            }
        }
        None
    }
}
