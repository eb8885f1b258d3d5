//! Who is on a connection: registered when it opens, and anew for each token that comes in a message.

use std::task::{Context, Poll};

use tidegate_session::{CloseReason, Session};
use tokio::time::Instant;

use crate::admitted::Admitted;
use crate::passing::{Passing, refusal};
use crate::protocol::Protocol;
use crate::register::Pass;

/// Whom it concerns, whatever carries the connection.
pub(crate) struct Party<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) protocol: &'a mut dyn Protocol,
    pub(crate) admitted: &'a mut Admitted,
}

/// Has revocations find a connection; why to close it, where one came before.
pub(crate) fn attach(session: &mut Session, admitted: &Admitted) -> Option<CloseReason> {
    let pass = admitted.pass()?;
    pass.attach(session.client());
    share(session, pass);
    pass.ended()
}

impl Party<'_> {
    /// Goes on with what a message brought of who is there, if anything is under way.
    pub(crate) fn settle(self, passing: &mut Option<Passing>, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        let Some(under_way) = passing else { return Ok(()) };
        let Poll::Ready(passed) = under_way.as_mut().poll(cx) else { return Ok(()) };
        *passing = None;
        match passed {
            Ok(pass) => self.take_over(pass),
            Err(refusal) => {
                let error = self.admitted.edge.refuse(refusal.clone());
                tracing::debug!(code = error.code, "credentials in a message were refused");
                self.protocol.settled(self.session, Err(refusal)).map(|_| ())
            }
        }
    }

    fn take_over(self, pass: Pass) -> Result<(), CloseReason> {
        pass.attach(self.session.client());
        // It may have come between the check and this.
        if let Some(reason) = pass.ended() {
            self.protocol.settled(self.session, Err(refusal(reason)))?;
            return Err(reason);
        }
        if self.protocol.settled(self.session, Ok(pass.principal()))? {
            share(self.session, &pass);
            self.admitted.settle(pass, Instant::now());
        }
        Ok(())
    }
}

fn share(session: &mut Session, pass: &Pass) {
    session.share(pass.grip().map(|grip| grip.shares()).unwrap_or_default());
}
