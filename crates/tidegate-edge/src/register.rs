//! Who is connected to a worker, as whoever revokes names them.
//!
//! A connection is registered before its session is checked, and so before it is one: a revocation that falls between
//! finds the entry and marks it. What is looked up by session has an index; users and tenants are revoked by people, so
//! for those everybody is looked at.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;
use tidegate_identity::Principal;
use tidegate_live::ClientId;
use tidegate_session::CloseReason;

use crate::quota::Grip;

/// Everybody on one worker.
#[derive(Default)]
pub(crate) struct Register(RefCell<Book>);

#[derive(Default)]
struct Book {
    entries: Slab<Rc<Entry>>,
    by_session: HashMap<Arc<str>, Vec<usize>>,
}

/// One connection, or what is going to be one.
pub(crate) struct Entry {
    pub(crate) principal: Arc<Principal>,
    /// None until it is a client of the worker.
    client: Cell<Option<ClientId>>,
    ended: Cell<Option<CloseReason>>,
}

/// A connection's place in the register. Dropping it takes the entry out.
pub(crate) struct Pass {
    entry: Rc<Entry>,
    grip: Option<Arc<Grip>>,
    at: usize,
    register: Rc<Register>,
}

impl Register {
    /// Enters someone whose identity is settled.
    pub(crate) fn enter(self: &Rc<Self>, principal: Arc<Principal>) -> Pass {
        let mut book = self.0.borrow_mut();
        let session = principal.session.clone();
        let entry = Rc::new(Entry { principal, client: Cell::default(), ended: Cell::default() });
        let at = book.entries.insert(entry.clone());
        if let Some(session) = session {
            book.by_session.entry(session).or_default().push(at);
        }
        Pass { entry, grip: None, at, register: self.clone() }
    }

    /// Everybody who is bound to a device session.
    pub(crate) fn of_session(&self, session: &str) -> Vec<Rc<Entry>> {
        let book = self.0.borrow();
        let found = book.by_session.get(session).map_or(&[][..], Vec::as_slice);
        found.iter().filter_map(|at| book.entries.get(*at).cloned()).collect()
    }

    /// Everybody of whom this is true. Takes time in proportion to those who are there.
    pub(crate) fn matching(&self, is_meant: impl Fn(&Principal) -> bool) -> Vec<Rc<Entry>> {
        let book = self.0.borrow();
        book.entries.iter().map(|(_, entry)| entry).filter(|entry| is_meant(&entry.principal)).cloned().collect()
    }
}

impl Entry {
    /// The client that it is, if it is one by now.
    pub(crate) fn client(&self) -> Option<ClientId> {
        self.client.get()
    }

    /// Marks it as ended, the first reason stays; the client to be closed, if it is one by now.
    pub(crate) fn end(&self, reason: CloseReason) -> Option<ClientId> {
        self.ended.set(self.ended.get().or(Some(reason)));
        self.client.get()
    }
}

impl Pass {
    /// Who it is.
    pub(crate) fn principal(&self) -> &Arc<Principal> {
        &self.entry.principal
    }

    /// Takes its part of what its user and its tenant may have.
    pub(crate) fn hold(&mut self, grip: Option<Arc<Grip>>) {
        self.grip = grip;
    }

    /// Its part of that, where there is a limit.
    pub(crate) fn grip(&self) -> Option<&Arc<Grip>> {
        self.grip.as_ref()
    }

    /// From now on it is this client that a revocation closes.
    pub(crate) fn attach(&self, client: ClientId) {
        self.entry.client.set(Some(client));
    }

    /// Why it has to end, if a revocation came already.
    pub(crate) fn ended(&self) -> Option<CloseReason> {
        self.entry.ended.get()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut book = self.register.0.borrow_mut();
        book.entries.try_remove(self.at);
        let Some(session) = &self.entry.principal.session else { return };
        if let Some(bound) = book.by_session.get_mut(session) {
            bound.retain(|at| *at != self.at);
            if bound.is_empty() {
                book.by_session.remove(session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_identity::PrincipalKind;

    use super::*;

    fn someone(session: Option<&str>, user: &str) -> Arc<Principal> {
        let session = session.map(Into::into);
        Arc::new(Principal { session, user: user.into(), ..Principal::new(PrincipalKind::User) })
    }

    #[test]
    fn who_is_registered_is_found_until_the_pass_is_gone() {
        let register = Rc::new(Register::default());
        let [first, second, other] = [(Some("s1"), "ann"), (Some("s1"), "ann"), (None, "bob")]
            .map(|(session, user)| register.enter(someone(session, user)));
        let users =
            |found: Vec<Rc<Entry>>| found.iter().map(|entry| entry.principal.user.to_string()).collect::<Vec<_>>();
        assert_eq!(users(register.of_session("s1")), ["ann", "ann"]);
        assert_eq!(users(register.matching(|principal| &*principal.user == "bob")), ["bob"]);
        drop(first);
        assert_eq!(users(register.of_session("s1")), ["ann"]);
        drop((second, other));
        assert!(register.of_session("s1").is_empty() && register.matching(|_| true).is_empty());
        assert!(register.0.borrow().by_session.is_empty());
    }

    #[test]
    fn a_revocation_before_there_is_a_client_is_not_lost() {
        let register = Rc::new(Register::default());
        let pass = register.enter(someone(Some("s1"), "ann"));
        let found = register.of_session("s1");
        assert_eq!(found[0].end(CloseReason::Revoked), None);
        assert_eq!(pass.ended(), Some(CloseReason::Revoked));
        pass.attach(ClientId(7));
        assert_eq!(found[0].end(CloseReason::Gone), Some(ClientId(7)));
        assert_eq!(pass.ended(), Some(CloseReason::Revoked));
    }
}
