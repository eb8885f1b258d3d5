//! Who is on a WebSocket: registered when it opens, and anew for each token that comes in a message.

use std::task::{Context, Poll};

use tidegate_identity::Principal;
use tidegate_session::{CloseReason, Session};
use tokio::time::Instant;

use super::Socket;
use crate::passing::refusal;
use crate::register::Pass;

impl Socket {
    /// The session of one who has said who that is.
    pub(crate) fn known(&mut self) -> Option<(&mut Session, &Principal)> {
        Some((&mut self.session, &**self.admitted.pass()?.principal()))
    }

    /// Has revocations find the connection; why to close it, where one came before.
    pub(crate) fn attach(&mut self) -> Option<CloseReason> {
        let pass = self.admitted.pass()?;
        pass.attach(self.session.client());
        share(&mut self.session, pass);
        pass.ended()
    }

    /// Goes on with what a message brought of who is there, if anything is under way.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        let Some(passing) = &mut self.passing else { return Ok(()) };
        let Poll::Ready(passed) = passing.as_mut().poll(cx) else { return Ok(()) };
        self.passing = None;
        match passed {
            Ok(pass) => self.take_over(pass),
            Err(refusal) => {
                let error = self.admitted.edge.refuse(refusal.clone());
                tracing::debug!(code = error.code, "credentials in a message were refused");
                self.protocol.settled(&mut self.session, Err(refusal)).map(|_| ())
            }
        }
    }

    fn take_over(&mut self, pass: Pass) -> Result<(), CloseReason> {
        pass.attach(self.session.client());
        // It may have come between the check and this.
        if let Some(reason) = pass.ended() {
            self.protocol.settled(&mut self.session, Err(refusal(reason)))?;
            return Err(reason);
        }
        if self.protocol.settled(&mut self.session, Ok(pass.principal()))? {
            share(&mut self.session, &pass);
            self.admitted.settle(pass, Instant::now());
        }
        Ok(())
    }
}

fn share(session: &mut Session, pass: &Pass) {
    session.share(pass.grip().map(|grip| grip.shares()).unwrap_or_default());
}
